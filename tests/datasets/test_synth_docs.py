"""Every block of docs/synth.md runs as it stands."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from synth_scene import write_scene
from typer.testing import CliRunner

from fewmask.cli.synth import synth

PAGE = Path(__file__).parents[2] / "docs" / "synth.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def coco(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_scene(tmp_path / "coco", scale=4)


def test_the_commands_run(coco):
    app = typer.Typer()
    app.command()(synth)
    lines = [line for block in blocks("bash") for line in block.strip().splitlines()]
    assert len(lines) == 3
    for line in lines:
        program, verb, *arguments = shlex.split(line)
        assert (program, verb) == ("fewmask", "synth")
        result = CliRunner().invoke(app, [*arguments, "--frames", "2"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert sorted(path.parent.name for path in Path().glob("*/instances.json")) == ["coco", "seen", "unseen", "videos"]


def test_the_python_runs(coco):
    scope: dict = {}
    for block in blocks("python"):
        exec(block, scope)
    pasted, video = scope["pasted"], scope["video"]
    assert pasted.mask.any()
    covered = np.zeros(video.masks.shape[2:], bool)
    covered[pasted.window] = pasted.mask
    assert not (scope["remaining"] & covered).any()
    assert not np.array_equal(scope["augmented"], video.frames[0])
