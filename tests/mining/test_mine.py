"""The whole of `mine` on small videos: what it finds, resumes, skips and writes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mining_red_square as red_square
import numpy as np
import pytest
from mining_red_square import TOOLS, RedProposer, write_video

from fewmask.datasets.coco import read_coco
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import ConfigError
from fewmask.media import rle
from fewmask.mining.frame_candidates import with_prior
from fewmask.mining.mine_videos import apply_review, mine, unique_names
from fewmask.mining.mined_video import MinedVideo
from fewmask.mining.settings import MiningSettings

SETTINGS = MiningSettings(keep_every=3, flow_short_side=64)


def contents(folder):
    """Every file but the manifest, which holds times."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and ".reviewed." not in path.name
    }


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    return [write_video(root / "a", 12), write_video(root / "b", 7, speed=3)]


@pytest.fixture(scope="module")
def dataset(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("mined") / "out"
    return mine(videos, out, settings=SETTINGS, **TOOLS)


def test_the_square_is_selected_in_every_frame(dataset):
    for name, length, speed in (("a", 12, 2), ("b", 7, 3)):
        video = MinedVideo.read(dataset.out / "results" / f"{name}.json")
        assert len(video.frames) == length
        tracks = set()
        for step, masks in enumerate(video.frames):
            truth = rle.encode(red_square.frame(step, speed)[1])
            best = max(masks, key=lambda mask: rle.iou_matrix([mask.mask], [truth])[0, 0])
            assert rle.iou_matrix([best.mask], [truth])[0, 0] == 1
            tracks.add(best.track)
            assert 0 < best.confidence <= 1
        assert len(tracks) == 1


def test_dataset_files_agree(dataset):
    coco, ytvis = read_coco(dataset.out / "instances.json"), read_ytvis(dataset.out / "ytvis.json")
    assert [image.file_name for image in coco.images] == [f"a/{i:06d}.jpg" for i in (0, 3, 6, 9)] + [
        f"b/{i:06d}.jpg" for i in (0, 3, 6)
    ]
    assert all(coco.path_of(image).exists() for image in coco.images)
    assert [video.length for video in ytvis.videos] == [4, 3]
    present = sum(mask is not None for track in ytvis.annotations for mask in track.segmentations)
    assert present == len(coco.annotations) > 0
    for annotation in coco.annotations:
        assert {"score", "foreground", "stability", "confidence", "rank", "margin"} == set(annotation.extra["evidence"])


def test_nothing_of_the_work_is_left(dataset):
    assert not list((dataset.out / "work").iterdir())
    assert (dataset.out / "cvat" / "a.xml").exists()
    assert json.loads((dataset.out / "label_studio" / "a.json").read_text())
    manifest = json.loads((dataset.out / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["progress"]["videos"]["b"]["frames"] == 7


def test_fewer_flows_than_all_pairs(dataset):
    for outcome in dataset.videos:
        assert 0 < outcome.pairs_evaluated <= outcome.pairs


def test_outcomes_say_why(dataset):
    for outcome in dataset.videos:
        video = MinedVideo.read(dataset.out / "results" / f"{outcome.name}.json")
        kept = [mask for masks in video.frames for mask in masks]
        assert outcome.masks == len(kept)
        assert outcome.empty == 0
        assert outcome.foreground == pytest.approx(np.mean([mask.foreground for mask in kept]))
        assert outcome.stability == pytest.approx(np.mean([mask.stability for mask in kept]))
        assert outcome.reconsidered == sum(masks[0].rank != 0 for masks in video.frames)


def test_interrupted_run_goes_on_and_ends_the_same(videos, dataset, tmp_path):
    RedProposer.calls = 0
    with pytest.raises(KeyboardInterrupt):
        mine(videos, tmp_path / "out", settings=SETTINGS, **{**TOOLS, "proposer": red_square.failing_at(5)})
    RedProposer.calls = 0
    mine(videos, tmp_path / "out", settings=SETTINGS, resume=True, **TOOLS)
    assert RedProposer.calls == 12 + 7 - 5  # only the frame in work was done twice
    assert contents(tmp_path / "out") == contents(dataset.out)


def test_a_finished_run_resumes_without_work(videos, dataset):
    before = contents(dataset.out)
    RedProposer.calls = 0
    mine(videos, dataset.out, settings=SETTINGS, resume=True, **TOOLS)
    assert RedProposer.calls == 0
    assert contents(dataset.out) == before


def test_a_bad_video_is_skipped(videos, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    summary = mine(
        [tmp_path / "bad.mp4", videos[1], tmp_path / "none.mp4"], tmp_path / "out", settings=SETTINGS, **TOOLS
    )
    assert [bool(outcome.skipped) for outcome in summary.videos] == [True, False, True]
    assert "bad.mp4" in summary.videos[0].skipped
    assert len(read_ytvis(tmp_path / "out" / "ytvis.json").videos) == 1


def test_a_video_that_breaks_off_is_mined_so_far(videos, tmp_path):
    broken = write_video(tmp_path / "broken", 6)
    (broken / "004.png").write_bytes(b"torn")
    summary = mine([broken], tmp_path / "out", settings=SETTINGS, **TOOLS)
    assert summary.videos[0].frames == 4
    assert "004.png" in summary.videos[0].note


def test_without_any_video(tmp_path):
    with pytest.raises(ConfigError):
        mine([], tmp_path / "out", **TOOLS)


def test_occupied_folder_and_other_settings_are_refused(videos, dataset):
    with pytest.raises(ConfigError, match="resume"):
        mine(videos, dataset.out, settings=SETTINGS, **TOOLS)
    with pytest.raises(ConfigError, match="keep_every"):
        mine(videos, dataset.out, settings=MiningSettings(keep_every=2, flow_short_side=64), resume=True, **TOOLS)


def test_review_is_applied(dataset, tmp_path):
    coco = read_coco(dataset.out / "instances.json")
    track = next(a.extra["track_id"] for a in coco.annotations if a.image_id == 1)
    decisions = tmp_path / "review.json"
    decisions.write_text(json.dumps({"accepted": [["a", track]], "rejected": []}))
    accepted = read_coco(apply_review(dataset.out, decisions, only_accepted=True), dataset.out / "images")
    assert {(a.extra["track_id"]) for a in accepted.annotations} == {track}
    assert all(image.file_name.startswith("a/") for image in accepted.images)
    decisions.write_text(json.dumps({"accepted": [], "rejected": [["a", track]]}))
    rest = read_coco(apply_review(dataset.out, decisions), dataset.out / "images")
    assert len(rest.annotations) + len(accepted.annotations) == len(coco.annotations)


def test_a_prior_for_background_keeps_fewer_masks(videos, tmp_path):
    # The corner box is unsure (0.48) and kept; a little more background leaves it out, the red square stays.
    for prior, masks in ((0.0, 2 * 12), (0.5, 12)):
        changes = {"background_prior": prior, "weight_flow": 0, "weight_consistency": 0}
        settings = SETTINGS.model_copy(update=changes)
        found = mine(videos[:1], tmp_path / str(prior), settings=settings, **TOOLS)
        assert found.videos[0].masks == masks
    before = np.array([[0.0, 0.2, 0.5, 1.0]], np.float32)
    after = with_prior(before, np.log(4))
    np.testing.assert_allclose(after, [[0, 0.5, 0.8, 1]], atol=1e-6)
    assert with_prior(before, 0) is before


def test_names_are_unique_and_safe():
    assert unique_names(["x/a b.mp4", "y/a b.mp4", "y/A b.mov", "rtsp://u:p@host/live?token=x.y"]) == [
        "a_b", "a_b-2", "A_b-3", "live",
    ]  # fmt: skip


def test_one_frame_and_no_proposals(tmp_path):
    class Nothing:
        def propose(self, rgb):
            return np.zeros((0, *rgb.shape[:2]), bool), np.zeros(0)

    video = write_video(tmp_path / "one", 1)
    summary = mine([video], tmp_path / "out", settings=SETTINGS, **{**TOOLS, "proposer": Nothing})
    assert summary.videos[0].masks == summary.tracks_to_review == 0
    assert read_coco(tmp_path / "out" / "instances.json").images == ()


def test_every_second_frame(videos, tmp_path):
    settings = SETTINGS.model_copy(update={"frame_step": 2})
    RedProposer.calls = 0
    with pytest.raises(KeyboardInterrupt):
        mine(videos[:1], tmp_path / "out", settings=settings, **{**TOOLS, "proposer": red_square.failing_at(4)})
    mine(videos[:1], tmp_path / "out", settings=settings, resume=True, **TOOLS)
    assert RedProposer.calls == 5 + 2  # frames 0, 2, ... 10; the one in work twice
    video = MinedVideo.read(tmp_path / "out" / "results" / "a.json")
    for t, masks in enumerate(video.frames):
        truth = rle.encode(red_square.frame(2 * t, 2)[1])
        assert max(rle.iou_matrix([mask.mask], [truth])[0, 0] for mask in masks) == 1
    result = video.as_result()
    assert result.annotated_frames == (0, 2, 4, 6, 8, 10)
    coco = read_coco(tmp_path / "out" / "instances.json")
    assert [image.file_name for image in coco.images] == ["a/000000.jpg", "a/000006.jpg"]
    assert all(coco.path_of(image).exists() for image in coco.images)


@pytest.mark.slow
def test_two_workers_are_byte_equal_to_one(videos, dataset, tmp_path):
    mine(videos, tmp_path / "out", settings=SETTINGS, workers=2, **TOOLS)
    assert contents(tmp_path / "out") == contents(dataset.out)


_CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import mining_red_square as red_square
from fewmask.mining.frame_candidates import with_prior
from fewmask.mining.mine_videos import mine
from fewmask.mining.settings import MiningSettings
class Slow(red_square.RedProposer):
    def propose(self, rgb):
        time.sleep(0.15)
        return super().propose(rgb)
mine([sys.argv[1]], sys.argv[2], settings=MiningSettings(keep_every=3, flow_short_side=64),
     **{**red_square.TOOLS, "proposer": Slow})
"""


@pytest.mark.slow
def test_killed_run_loses_at_most_the_frame_in_work(videos, tmp_path):
    out = tmp_path / "out"
    arguments = [sys.executable, "-c", _CHILD, str(videos[0]), str(out), str(Path(__file__).parent)]
    child = subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})
    images = out / "images" / "a"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (images / "000006.jpg").exists():
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    RedProposer.calls = 0
    mine([videos[0]], out, settings=SETTINGS, resume=True, **TOOLS)
    assert RedProposer.calls <= 12 - 6  # frames 0 to 5 were whole when the picture of frame 6 appeared
    whole = tmp_path / "whole"
    mine([videos[0]], whole, settings=SETTINGS, **TOOLS)
    assert contents(out) == contents(whole)
