"""Every block of the guide to Self-Shot runs as it stands, on small videos and with a tiny transformer."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from moving_squares import write_video as write_squares
from PIL import Image
from small_pool import COLOURS, moving_square, write_video

from fewmask.cli import main as command
from fewmask.selfshot import segment
from fewmask.selfshot.pretrained import save_transformer

from .test_transformer import started

PAGE = (Path(__file__).parents[2] / "docs" / "self-shot.md").read_text()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    for seed, (name, colour) in enumerate(zip("abc", COLOURS.values(), strict=False)):
        write_video(tmp_path / "videos" / f"{name}.mp4", moving_square(colour, 8, seed=seed))
    write_squares("videos/d.mp4", 6)
    save_transformer(started(), tmp_path / "weights" / "small")
    monkeypatch.setattr(segment, "BUNDLED", tmp_path / "weights")
    return tmp_path


def test_the_guide_runs(place, monkeypatch, capsys):
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL):
        for line in block.strip().splitlines():
            monkeypatch.setattr(sys, "argv", shlex.split(line))
            with pytest.raises(SystemExit) as stop:
                command.main()
            assert stop.value.code == 0, line
    for name in ("supports.json", "supports.png", "tracks.json", "overlay.mp4", "masks"):
        assert (place / "out" / "a" / name).exists()
    with Image.open(place / "found.png") as sheet:
        assert sheet.height > 300  # the query and two others: b was removed
    exec(*re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), {})


def test_every_option_that_the_guide_names_exists():
    from fewmask.cli.index import index
    from fewmask.cli.segment import segment as verb

    for function, names in [(verb, ("pool", "support_video", "random_supports")), (index, ("workers", "ray", "prune"))]:
        assert set(names) <= set(function.__annotations__)
