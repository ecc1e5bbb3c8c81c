"""Every block of the guide to few-shot segmentation runs as it stands."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from moving_squares import write_video
from tiny_vipmt import write_pictures

from fewmask.cli import main as command

PAGE = Path(__file__).parents[2] / "docs" / "few-shot.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with everything the guide speaks of."""
    monkeypatch.chdir(tmp_path)
    write_video("video.mp4", 7)
    write_pictures(tmp_path / "supports" / "dog", 2, seed=1)
    write_pictures(tmp_path / "supports" / "cat", 1, seed=2)
    return tmp_path


@pytest.mark.slow
def test_the_guide(place, monkeypatch):
    for line in "".join(blocks("bash")).splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as stop:
            command.main()
        assert stop.value.code == 0, line
    for name in ("demo-few-shot", "dog", "dog-not-cat", "both", "parts", "objects"):
        assert (place / "out" / name / "tracks.json").is_file()
    for block in blocks("python"):
        exec(block, {})
