"""docs/architecture.md: its four examples are short and work as they stand; it speaks of files that are there."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from moving_squares import write_video

from fewmask import MinVIS
from fewmask.cli import main as command
from fewmask.exports.run_outputs import EXPORTS, Outputs
from fewmask.media import rle
from fewmask.minvis.loading import READERS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SEGMENTER, FORMAT, METRIC, METHOD = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
MOST_LINES = 60


def load(example):
    assert len(example.splitlines()) < MOST_LINES
    names = {"__name__": "example"}
    exec(compile(example, "docs/architecture.md", "exec"), names)
    return names


def fewmask(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["fewmask", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    return ended.value.code


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "squares.mp4", 12)


def test_a_segmenter_and_a_format_are_added(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("fewmask.minvis.loading.READERS", dict(READERS))
    names, folder = load(SEGMENTER), tmp_path / "bright"
    monkeypatch.setitem(READERS, "bright-things", names["READERS"]["bright-things"])
    folder.mkdir()
    names["BrightThings"]().save(folder)
    video = MinVIS.from_pretrained(folder, device="cpu").segment(clip)
    assert video.length == 12
    assert any(mask is not None for track in video.tracks for mask in track.masks)
    load(FORMAT)
    try:
        options = ["--weights", folder, "--export", "boxes", "--min-score", 0.2, "--no-overlay"]
        assert fewmask(monkeypatch, "segment", clip, "--out", tmp_path / "run", *options) == 0
        rows = (tmp_path / "run" / "boxes.csv").read_text().splitlines()
        assert rows[0] == "track_id,frame,left,top,width,height"
        assert len(rows) > 12
        track, frame, left, top, width, height = map(int, rows[1].split(","))
        assert track == 1
        listed = json.loads((tmp_path / "run" / "tracks.json").read_text())
        mask = next(entry for entry in listed if entry["track_id"] == track)["segmentations"][frame]
        ys, xs = np.nonzero(rle.decode(mask))
        assert [left, top, width, height] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    finally:
        del EXPORTS["boxes"]


def test_a_metric_is_added(tmp_path, monkeypatch, capsys):
    from fewmask.cli.eval import app

    before = list(app.registered_commands)
    fixtures = ROOT / "tests" / "metrics" / "fixtures" / "ytvis_eval"
    try:
        names = load(METRIC)
        from typer.testing import CliRunner

        words = ["count", "--gt", fixtures / "basic_gt.json", "--pred", fixtures / "basic_pred.json", "--json"]
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0
        found = json.loads(done.output)["stats"]["count_error"]
        dataset = names["read_ytvis"](fixtures / "basic_gt.json")
        assert found == names["count_error"](
            dataset, names["read_ytvis_results"](fixtures / "basic_pred.json", dataset)
        )
        assert found >= 0
    finally:
        app.registered_commands[:] = before


def test_a_method_is_added_and_goes_on_where_it_was_killed(clip, tmp_path, monkeypatch):
    import torch

    from fewmask.pipelines import runner
    from fewmask.pipelines.segment_request import RunOptions

    stream_of = load(METHOD)["WhatMoved"]
    monkeypatch.setattr(runner, "STATE_EVERY", 4)

    def run(out, *, resume=False, die_at=None):
        def progress(done, _total):
            if done == die_at:
                raise KeyboardInterrupt

        options = RunOptions(source=str(clip), out=out, resume=resume)
        outputs = Outputs(overlay=False, min_score=0)
        with runner.open_run(options, outputs, torch.device("cpu"), inputs={}, settings={}) as directory:
            return runner.stream_to_directory(stream_of(), options, directory, outputs, progress=progress)

    assert run(tmp_path / "whole").frames == 12
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", die_at=9)
    assert run(tmp_path / "killed", resume=True).tracks == 1
    for name in ("tracks.json", "results.spool"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_files_it_speaks_of_are_there():
    src = ROOT / "src" / "fewmask"
    spoken = set(re.findall(r"`(?:[\w]+/)*[\w]+\.py`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)))
    assert len(spoken) > 30
    for name in (word.strip("`") for word in spoken):
        places = [src / name, ROOT / name, *(folder / name for folder in src.iterdir() if folder.is_dir())]
        assert any(place.is_file() for place in places), name
