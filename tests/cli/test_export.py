"""`fewmask export` and `train --data RUN`: corrected results out of a run, and back into training."""

import json
import sys
from pathlib import Path

import pytest
from made_runs import dense_tracks, write_run, write_video

from fewmask.cli import main as command
from fewmask.corrections.corrected_run import CorrectedRun

RECIPE = """
sizes = [[64, 96]]
points = 64
[train]
steps = 1
batch_size = 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWMASK_CACHE", str(tmp_path / "cache"))
    tracks = dense_tracks(30, size=(64, 96))
    video = write_video(tmp_path / "video.mp4", 30, (64, 96), tracks=tracks)
    return write_run(tmp_path / "run", tracks, source=video, names=("cell", "dog"))


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["fewmask", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        command.main()
    return stop.value.code


def test_export_writes_what_was_corrected(folder, monkeypatch, capsys):
    CorrectedRun.open(folder).correct({"kind": "merge", "into": 1, "other": 2}, 0)
    assert run(monkeypatch, "export", folder, "--format", "ytvis", "--format", "coco", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["tracks"] == 2
    assert said["corrections"] == 1
    assert [Path(file).name for file in said["files"]] == ["ytvis.json", "coco.json"]
    assert run(monkeypatch, "export", folder, "--format", "davis", "--out", folder.parent / "elsewhere") == 0
    assert (folder.parent / "elsewhere" / "davis" / "00000.png").is_file()


def test_what_is_no_run_is_one_line(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "export", tmp_path, "--format", "ytvis") == 2
    assert "holds no results of a run" in capsys.readouterr().err
    assert run(monkeypatch, "studio", tmp_path / "nothing", "--no-browser") == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert run(monkeypatch, "studio", tmp_path, "--host", "0.0.0.0") == 2
    assert "--token" in capsys.readouterr().err


def test_training_goes_on_from_what_a_person_corrected(folder, monkeypatch, capsys):
    recipe = folder.parent / "recipe.toml"
    recipe.write_text(RECIPE)
    words = (
        "train",
        "minvis",
        recipe,
        "--data",
        folder,
        "--start-from",
        "mask2former",
        "--out",
        folder.parent / "trained",
    )
    assert run(monkeypatch, *words) == 2
    assert "no frame of this run was corrected" in capsys.readouterr().err
    CorrectedRun.open(folder).correct({"kind": "confirm", "first": 10, "last": 12}, 0)
    assert run(monkeypatch, *words[:-1], folder.parent / "again") == 0
    assert (folder.parent / "again" / "weights").is_dir()
