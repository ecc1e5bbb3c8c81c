"""VC under its three definitions, and the averages of few-shot segmentation: recorded figures and brute force."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from recorded import arrays, expected, unpacked

import fewmask.metrics
from fewmask.datasets.ytvis import YtvisCategory, YtvisDataset, YtvisVideo, annotation_from_masks, result_from_masks
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.metrics.fsvos import aggregate_fsvos, score_fsvos_video
from fewmask.metrics.fsvos_tracks import score_fsvos_tracks, youtube_fsvos_fold
from fewmask.metrics.vc_folders import evaluate_vc
from fewmask.metrics.video_consistency import vc_tti, vc_vipmt, vc_vspw, vc_vspw_dataset, vspw_windows

EXPECTED = expected("vc")


def _case(name: str) -> tuple[Any, Any]:
    stored = arrays("vc", "sequences")
    shape = stored[f"{name}.shape"]
    return unpacked(stored[f"{name}.pred"], shape), unpacked(stored[f"{name}.gt"], shape)


def _close(value: float | None, wanted: float | None) -> bool:
    return value is None if wanted is None else value == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("n", [3, 7, 8])
@pytest.mark.parametrize("name", list(EXPECTED["binary"]))
def test_recorded_videos(name: str, n: int) -> None:
    wanted = EXPECTED["binary"][name]
    pred, gt = _case(name)
    assert _close(fewmask.metrics.vc_vipmt(pred, gt, n), wanted[f"vipmt_vc{n}"])
    assert _close(fewmask.metrics.vc_tti(pred, gt, n), wanted[f"tti_vc{n}"])
    assert _close(fewmask.metrics.vc_vspw(pred, gt, n), wanted[f"vspw_vc{n}"])
    windows = wanted[f"vspw_vc{n}_windows"]
    assert vspw_windows(pred, gt, n).tolist() == pytest.approx([] if windows is None else windows, abs=1e-6)


@pytest.mark.parametrize("n", [8, 16])
def test_recorded_label_maps(n: int) -> None:
    wanted, stored = EXPECTED["vspw_semantic"], arrays("vc", "sequences")
    windows = []
    for name in ("video0", "video1", "video2", "video3"):
        pred, gt = stored[f"semantic.{name}.pred"], stored[f"semantic.{name}.gt"]
        assert _close(vc_vspw(pred, gt, n), wanted[name][f"vc{n}"])
        windows.append(vspw_windows(pred, gt, n))
    assert _close(vc_vspw_dataset(windows), wanted["dataset"][f"vc{n}"])


def test_constant_wrong_labels_score_1_with_vspw() -> None:
    gt = np.ones((10, 4, 5), dtype=np.uint8)
    assert vc_vspw(gt * 2, gt, 8) == EXPECTED["vspw_semantic"]["all_wrong_but_constant"]
    assert vc_vipmt(gt * 0, gt, 8) == 0.0


labels = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(max_examples=60, deadline=None)
@given(labels, st.integers(1, 9), st.integers(1, 6))
def test_windows_agree_with_the_definitions(generator: Any, frames: int, n: int) -> None:
    pred, gt = (generator.random((2, frames, 3, 4)) < 0.8).astype(np.uint8) * 2
    starts = range(frames - n + 1)
    foreground = []
    for s in starts:
        a, b = gt[s : s + n].all(0), pred[s : s + n].all(0)
        foreground.append((a & b).sum() / (a.sum() + 1e-10))
    assert _close(vc_vipmt(pred, gt, n), float(np.mean(foreground)) if foreground else None)
    assert _close(vc_tti(pred, gt, n), float(np.mean(foreground[:-1])) if len(foreground) > 1 else 0.0)
    constant = []
    for s in list(starts)[:-1]:
        a, b = (gt[s : s + n] == gt[s]).all(0), (pred[s : s + n] == pred[s]).all(0)
        constant.append((a & b).sum() / a.sum() if a.any() else np.nan)
    assert vspw_windows(pred, gt, n) == pytest.approx(np.array(constant), nan_ok=True)


def test_what_vc_refuses() -> None:
    masks = np.ones((4, 2, 2))
    with pytest.raises(DatasetError, match="shape"):
        vc_vipmt(masks, masks[:3], 2)
    with pytest.raises(DatasetError, match="shape"):
        vc_vspw(masks[0], masks[0], 2)
    with pytest.raises(DatasetError, match="window"):
        vc_tti(masks, masks, 0)


def test_folders(tmp_path: Path) -> None:
    per_video = {}
    for name in ("t12", "t7_exact", "t6_too_short"):
        pred, gt = _case(name)
        for which, maps in (("pred", pred), ("gt", gt)):
            (tmp_path / which / name).mkdir(parents=True)
            for t, labels_of in enumerate(maps):
                Image.fromarray(labels_of.astype(np.uint8) * 5).save(tmp_path / which / name / f"{t}.png")
        per_video[name] = EXPECTED["binary"][name]
    scores = evaluate_vc(tmp_path / "gt", tmp_path / "pred", n=7)
    for name, wanted in per_video.items():
        assert _close(scores.per_video[name]["VC_vipmt"], wanted["vipmt_vc7"])
        assert _close(scores.per_video[name]["VC_vspw"], wanted["vspw_vc7"])
    assert _close(scores.stats["VC_vipmt"], (per_video["t12"]["vipmt_vc7"] + per_video["t7_exact"]["vipmt_vc7"]) / 2)
    assert _close(scores.stats["VC_tti"], per_video["t12"]["tti_vc7"] / 2)
    assert _close(scores.stats["VC_vspw"], per_video["t12"]["vspw_vc7"])
    assert evaluate_vc(tmp_path / "gt", tmp_path / "pred", n=7, foreground=5).stats == scores.stats


# ---------------------------------------------------------------- averages


def test_recorded_averages() -> None:
    wanted = EXPECTED["vipmt_aggregate"]
    videos = []
    for index, video in enumerate(wanted["videos"]):
        pred, gt = _case(f"agg{index}")
        assert len(gt) == video["frames"]
        videos.append(score_fsvos_video(pred, gt, video["class"]))
    with pytest.raises(DatasetError, match="class 30"):
        aggregate_fsvos(videos, {1: wanted["class_order"]})
    scores = aggregate_fsvos(videos, {1: wanted["class_order"]}, official_quirks=True)
    for index, class_id in enumerate(wanted["class_order"]):
        figures = scores.per_class[0, 1, class_id]
        assert _close(figures["J"], wanted["J_per_class"][index])
        assert _close(figures["F"], wanted["F_per_class"][index])
        assert _close(figures["VC_vipmt"], wanted["VC7_per_class"][index])
        assert _close(figures["J_accumulated"], wanted["IoU_accumulated_per_class"][index])
    assert _close(scores.overall["J"], wanted["J"])
    assert _close(scores.overall["F"], wanted["F"])
    assert _close(scores.overall["VC_vipmt"], wanted["VC7"])


def test_order_of_the_averages() -> None:
    """Two runs, two folds, classes of different sizes: the mean of means is not the mean of all."""
    base = score_fsvos_video(np.ones((2, 3, 3)), np.ones((2, 3, 3)), 1)
    videos = [
        replace(base, class_id=1, J=np.array([1.0, 1.0, 0.0])),
        replace(base, class_id=2, J=np.array([0.5])),
        replace(base, class_id=3, fold=2, J=np.array([0.0])),
        replace(base, class_id=1, run=1, J=np.array([0.25])),
    ]
    scores = aggregate_fsvos(videos)
    assert scores.per_class[0, 1, 1]["J"] == pytest.approx(2 / 3)
    assert scores.per_fold[0, 1]["J"] == pytest.approx((2 / 3 + 0.5) / 2)
    assert scores.per_run[0,]["J"] == pytest.approx((2 / 3 + 0.5) / 4)
    assert scores.overall["J"] == pytest.approx(((2 / 3 + 0.5) / 4 + 0.25) / 2)
    assert scores.overall["VC_vipmt"] is None
    with pytest.raises(DatasetError, match="no query video"):
        aggregate_fsvos([])


def _dataset() -> tuple[YtvisDataset, Any]:
    """Two objects of class 3 and one of class 6 in one video of 9 frames; class 6 is absent from the last two."""
    generator = np.random.default_rng(5)
    masks = np.zeros((3, 9, 8, 10), dtype=bool)
    for index in range(3):
        top, left = generator.integers(0, 5, 2)
        masks[index, :, top : top + 3, left : left + 4] = True
    masks[2, 7:] = False
    tracks = [[rle.encode(m) if m.any() else None for m in track] for track in masks]
    annotations = tuple(
        annotation_from_masks(id=i + 1, video_id=1, category_id=6 if i == 2 else 3, segmentations=track)
        for i, track in enumerate(tracks)
    )
    categories = (YtvisCategory(3, "a"), YtvisCategory(6, "b"))
    return YtvisDataset((YtvisVideo(1, 10, 8, 9),), categories, annotations), masks


def test_tracks_of_a_class_are_united() -> None:
    dataset, masks = _dataset()
    results = [
        result_from_masks(video_id=1, category_id=3, score=0.1, segmentations=dataset.annotations[0].segmentations)
    ]
    first, second = score_fsvos_tracks(dataset, results, fold_of=youtube_fsvos_fold)
    wanted = score_fsvos_video(masks[0], masks[0] | masks[1], 3, fold=3)
    assert (first.class_id, first.fold, second.class_id, second.fold) == (3, 3, 6, 2)
    assert first.J.tolist() == wanted.J.tolist()
    assert first.F.tolist() == wanted.F.tolist()
    assert first.vc_vipmt == wanted.vc_vipmt
    assert second.J.tolist() == [0.0] * 7  # absent from the results, and only frames with the class count
    (only,) = score_fsvos_tracks(dataset, results, fold_of=lambda _: 1, only_predicted=True)
    assert only.class_id == 3
    every = list(score_fsvos_tracks(dataset, results, fold_of=lambda _: 1, every_frame=True))
    assert every[1].J.tolist() == [0.0] * 7 + [1.0, 1.0]


def test_frames_nobody_annotated_are_left_out() -> None:
    dataset, _ = _dataset()
    dataset = replace(dataset, videos=(replace(dataset.videos[0], annotated_frames=(0, 4)),))
    videos = list(score_fsvos_tracks(dataset, [], fold_of=lambda _: 1))
    assert [len(video.J) for video in videos] == [2, 2]
    assert all(video.vc_vipmt is None for video in videos)
