"""Where the recorded networks lie."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded MinVIS networks and results."""
    default = Path(__file__).parents[3] / "shared"
    folder = Path(os.environ.get("FEWMASK_DATA", default)) / "fixtures" / "minvis"
    if not folder.is_dir():
        pytest.skip(f"no recorded networks at {folder}; set FEWMASK_DATA")
    return folder
