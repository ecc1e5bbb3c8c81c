"""A run through its corrections: the same masks by stretch, frame by frame and in every export."""

import json

import numpy as np
import pytest
from made_runs import SIZE, dense_tracks, disc, write_run, write_video

from fewmask.corrections.corrected_run import CorrectedRun
from fewmask.corrections.export import FORMATS, export_corrected
from fewmask.corrections.result_index import open_index
from fewmask.corrections.training_data import annotations_of
from fewmask.datasets.coco import read_coco
from fewmask.datasets.ytvis import read_ytvis, read_ytvis_results
from fewmask.errors import ConfigError, DatasetError, FewmaskError
from fewmask.media import rle

LENGTH = 150


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWMASK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tracks():
    return dense_tracks(LENGTH, count=3)


@pytest.fixture
def folder(tmp_path, tracks):
    video = write_video(tmp_path / "clip.mp4", LENGTH, tracks=tracks)
    return write_run(tmp_path / "run", tracks, source=video, names=("cell", "dog"))


def bitmaps(run):
    found = {track: np.zeros((run.state.length, *SIZE), bool) for track in run.state.tracks}
    for frame in run.frames():
        for track, mask in zip(frame.track_ids, frame.masks, strict=True):
            found[track][frame.index] = rle.decode(mask)
    return found


def test_without_corrections_it_is_the_run(folder, tracks):
    run = CorrectedRun.open(folder)
    found = bitmaps(run)
    assert found.keys() == tracks.keys()
    for track, masks in tracks.items():
        np.testing.assert_array_equal(found[track], masks)
        np.testing.assert_array_equal(run.presence(track) > 0, masks.any((1, 2)))
    assert run.categories() == {1: "cell", 2: "dog"}
    before, after = (folder / "tracks.json"), export_corrected(run, "ytvis")
    whole = [json.loads(path.read_text()) for path in (before, after)]
    for entries in whole:
        for entry in entries:
            entry.pop("track_id", None)
    assert whole[0] == whole[1]


@pytest.mark.parametrize(("first", "count"), [(0, 1), (10, 64), (63, 2), (60, 90), (149, 5), (150, 3), (0, 500)])
def test_any_stretch(folder, tracks, first, count):
    run = CorrectedRun.open(folder)
    found = run.masks(first, count)
    frames = range(first, min(first + count, LENGTH))
    for track, masks in tracks.items():
        if not masks[first : first + count].any():
            assert track not in found
            continue
        assert len(found[track]) == len(frames)
        for frame, mask in zip(frames, found[track], strict=True):
            np.testing.assert_array_equal(np.zeros(SIZE, bool) if mask is None else rle.decode(mask), masks[frame])


def corrected(folder):
    """Merge, split, a fixed mask and a class; the run."""
    run = CorrectedRun.open(folder)
    run.correct({"kind": "merge", "into": 1, "other": 2}, 0)
    run.correct({"kind": "split", "track": 1, "frame": 70}, 1)
    run.correct({"kind": "mask", "track": 3, "frame": 40, "counts": rle.encode(disc(SIZE, (20, 20), 6))["counts"]}, 2)
    run.correct({"kind": "set-class", "track": 4, "name": "worm"}, 3)
    return run


def expected(tracks):
    both = tracks[1] | tracks[2]
    late = (np.arange(LENGTH) >= 70)[:, None, None]
    third = tracks[3].copy()
    third[40] = disc(SIZE, (20, 20), 6)
    return {1: both & ~late, 3: third, 4: both & late}


def test_corrections_are_in_every_format(folder, tracks):
    run, wanted = corrected(folder), expected(tracks)
    found = bitmaps(run)
    assert found.keys() == wanted.keys()
    for track, masks in wanted.items():
        np.testing.assert_array_equal(found[track], masks)
    written = {kind: export_corrected(run, kind) for kind in FORMATS}
    results = read_ytvis_results(written["ytvis"])
    assert len(results) == 3
    for result, track in zip(results, (1, 3, 4), strict=True):
        masks = [np.zeros(SIZE, bool) if m is None else rle.decode(m) for m in result.segmentations]
        np.testing.assert_array_equal(np.stack(masks), wanted[track])
    assert read_coco(written["coco"], folder).categories == {1: "cell", 3: "worm"}
    assert written["davis"].joinpath("00149.png").is_file()
    assert b"worm" in written["cvat"].read_bytes()
    assert json.loads(written["label-studio"].read_text())
    assert written["overlay"].stat().st_size > 1000
    own = json.loads((folder / "tracks.json").read_text())
    assert len(own) == 3  # the run's own results stay as they are


def test_the_dataset_knows_which_frames_a_person_checked(folder, tracks):
    run = corrected(folder)
    run.correct({"kind": "confirm", "first": 80, "last": 81}, 4)
    dataset = read_ytvis(annotations_of(folder))
    assert dataset.videos[0].annotated_frames == (40, 80, 81)
    assert {category.name for category in dataset.categories} == {"cell", "worm"}
    root = folder / "corrected" / "dataset" / "JPEGImages"
    assert sorted(path.name for path in root.rglob("*.jpg")) == ["000040.jpg", "000080.jpg", "000081.jpg"]
    wanted = expected(tracks)
    for annotation, track in zip(dataset.annotations, dataset.info["track_ids"], strict=True):
        for frame in (40, 80, 81):
            mask = annotation.segmentations[frame]
            there = np.zeros(SIZE, bool) if mask is None else rle.decode(mask)
            np.testing.assert_array_equal(there, wanted[track][frame])
        assert annotation.segmentations[41] is None


def test_what_no_person_saw_is_nothing_to_learn_from(folder, tmp_path):
    with pytest.raises(ConfigError, match="no frame of this run was corrected"):
        annotations_of(folder)
    assert annotations_of(tmp_path / "instances.json") == tmp_path / "instances.json"
    assert annotations_of(tmp_path) == tmp_path


def test_undo_and_redo(folder):
    run = corrected(folder)
    assert [step.holds for step in run.steps()] == [True] * 4
    version = run.correct({"kind": "undo"}, 4)
    version = run.correct({"kind": "undo"}, version)
    assert [step.holds for step in run.steps()] == [True, True, False, False]
    assert not run.checked_frames()
    version = run.correct({"kind": "redo"}, version)
    assert run.checked_frames() == [40]
    version = run.correct({"kind": "delete", "track": 3}, version)
    assert not run.can_redo
    again = CorrectedRun.open(folder)
    assert again.state == run.state
    assert again.version == version == 8
    for _ in range(4):
        version = run.correct({"kind": "undo"}, version)
    assert not run.can_undo
    assert set(run.state.tracks) == {1, 2, 3}
    with pytest.raises(DatasetError, match="nothing to undo"):
        run.correct({"kind": "undo"}, version)
    assert CorrectedRun.open(folder).version == version


def test_what_cannot_be_is_not_written(folder):
    run = CorrectedRun.open(folder)
    with pytest.raises(DatasetError, match="no track 9"):
        run.correct({"kind": "merge", "into": 1, "other": 9}, 0)
    assert not (folder / "corrections.jsonl").exists()


def test_two_see_each_other(folder):
    one, two = CorrectedRun.open(folder), CorrectedRun.open(folder)
    one.correct({"kind": "delete", "track": 2}, 0)
    assert 2 in two.state.tracks
    with pytest.raises(ConfigError, match="changed elsewhere"):
        two.correct({"kind": "delete", "track": 3}, 0)
    assert 2 not in two.state.tracks
    assert two.correct({"kind": "delete", "track": 3}, 1) == 2


def test_other_results_are_not_corrected(folder, tracks):
    corrected(folder)
    write_run(folder, {1: tracks[1]})
    with pytest.raises(DatasetError, match="belong to other results"):
        CorrectedRun.open(folder)


def test_the_source_is_gone(folder):
    run = corrected(folder)
    (folder.parent / "clip.mp4").unlink()
    for kind in ("ytvis", "coco", "davis", "cvat", "label-studio"):
        assert export_corrected(run, kind).exists()
    for kind in ("dataset", "overlay"):
        with pytest.raises(ConfigError, match=r"clip\.mp4 is not there"):
            export_corrected(run, kind)


def test_a_run_that_found_nothing(tmp_path):
    folder = write_run(tmp_path / "run", {})
    run = CorrectedRun.open(folder)
    assert run.state.length == 0
    assert run.masks(0, 10) == {}
    assert json.loads(export_corrected(run, "ytvis").read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "", "[", "{}", "[\n{]\n", "[\n1\n]\n", '[\n{"segmentations": 3}\n]\n',
        '[\n{"score": 1, "category_id": 1, "segmentations": [{"size": [4, 4], "counts": 7}]}\n]\n',
        '[\n{"score": 1, "category_id": 1, "segmentations": [{"size": [4], "counts": "a"}]}\n]\n',
        '[\n{"score": 1, "category_id": 1, "segmentations": []},\n'
        '{"score": 1, "category_id": 1, "segmentations": [null]}\n]\n',
        '[\n{"score": "x", "category_id": 1, "segmentations": [null]}\n]\n',
    ],
)  # fmt: skip
def test_damaged_results_are_one_line(tmp_path, text):
    (tmp_path / "tracks.json").write_text(text)
    with pytest.raises(FewmaskError) as caught:
        open_index(tmp_path / "tracks.json")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.sqlite"))


def test_results_on_one_line_are_read_as_well(tmp_path, tracks):
    folder = write_run(tmp_path / "run", tracks)
    whole = json.loads((folder / "tracks.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps(whole))
    one, two = open_index(folder / "tracks.json"), open_index(tmp_path / "other.json")
    assert one.tracks == two.tracks
    assert one.stretch(1, [1, 2, 3]) == two.stretch(1, [1, 2, 3])
