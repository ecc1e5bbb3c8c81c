"""What a stranger types first: the demo, and the check of the machine, with the bundled clip and weights."""

import itertools
import json
import sys

import pytest

from fewmask.cli import main as command
from fewmask.media import rle
from fewmask.media.frames import open_frames
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.pipelines.segment import demo_clip


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["fewmask", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        command.main()
    return stop.value.code


@pytest.mark.slow
def test_the_demo_tracks_the_person_throughout(monkeypatch, capsys, tmp_path):
    out = tmp_path / "demo"
    assert run(monkeypatch, "demo", "--out", out, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["frames"] == 96
    assert summary["tracks"] >= 1
    tracks = json.loads((out / "tracks.json").read_text())
    person = max(tracks, key=lambda track: sum(rle.area(mask) for mask in track["segmentations"] if mask))
    masks = person["segmentations"]
    assert sum(mask is not None for mask in masks) >= 90
    overlaps = [rle.iou_matrix([a], [b])[0, 0] for a, b in itertools.pairwise(masks) if a and b]
    assert sum(overlap > 0.5 for overlap in overlaps) > 0.9 * len(overlaps)
    with open_frames(out / "overlay.mp4") as overlay:
        assert overlay.length == 96
    assert len(list((out / "masks").iterdir())) == 96


@pytest.mark.slow
def test_bounded_mode_gives_the_same_top_tracks_as_exact_mode_on_a_real_clip():
    model = MinVIS.from_pretrained()
    exact, bounded = (
        model.segment(demo_clip(), StreamSettings(top_k=5, mode=mode, batch=4)) for mode in ("exact", "bounded")
    )
    assert [(t.track_id, t.category_id, t.score) for t in exact.tracks] == [
        (t.track_id, t.category_id, t.score) for t in bounded.tracks
    ]
    for whole, pruned in zip(exact.tracks, bounded.tracks, strict=True):
        kept = [(a, b) for a, b in zip(whole.masks, pruned.masks, strict=True) if b is not None]
        assert all(a == b for a, b in kept)
        assert len(kept) >= 0.95 * sum(mask is not None for mask in whole.masks)


def test_the_bundled_weights_run_and_the_doctor_finds_them(monkeypatch, capsys):
    assert run(monkeypatch, "doctor", "--json") == 0
    checks = json.loads(capsys.readouterr().out)
    assert checks["bundled weights"]["ok"]
    assert checks["video"]["ok"]


@pytest.mark.slow
def test_the_few_shot_demo_finds_an_object_that_minvis_tracks(monkeypatch, capsys, tmp_path):
    for name, words in (("every", ()), ("few", ("--few-shot",))):
        assert run(monkeypatch, "demo", *words, "--out", tmp_path / name, "--json") == 0
    capsys.readouterr()
    few = json.loads((tmp_path / "few" / "tracks.json").read_text())
    found = max(few, key=lambda track: sum(mask is not None for mask in track["segmentations"]))
    every = json.loads((tmp_path / "every" / "tracks.json").read_text())
    agreement = [
        sum(
            rle.iou_matrix([a], [b])[0, 0]
            for a, b in zip(found["segmentations"], track["segmentations"], strict=True)
            if a and b
        )
        / 96
        for track in every
    ]
    assert len(found["frame_scores"]) == 96
    assert max(agreement) > 0.6
