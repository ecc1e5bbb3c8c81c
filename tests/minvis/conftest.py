"""Where the recorded networks lie; pictures and videos to train on."""

import os
from pathlib import Path

import pytest
from square_data import write_pictures, write_videos


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded MinVIS networks and results."""
    default = Path(__file__).parents[3] / "shared"
    folder = Path(os.environ.get("FEWMASK_DATA", default)) / "fixtures" / "minvis"
    if not folder.is_dir():
        pytest.skip(f"no recorded networks at {folder}; set FEWMASK_DATA")
    return folder


@pytest.fixture(scope="session")
def squares(tmp_path_factory) -> Path:
    """Twelve pictures of squares, as a COCO folder, with the recipe tiny.toml."""
    return write_pictures(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """Four videos of 20 frames with two squares, as a YouTube-VIS folder."""
    return write_videos(tmp_path_factory.mktemp("videos"))
