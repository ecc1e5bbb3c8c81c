"""Video AP and AR: recorded figures of the official evaluators, brute force, and what must not change a score."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fewmask.datasets.ytvis import (
    YtvisAnnotation,
    YtvisCategory,
    YtvisDataset,
    YtvisResult,
    YtvisVideo,
    annotation_from_masks,
    read_ytvis,
    read_ytvis_results,
    result_from_masks,
)
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.metrics.ovis import evaluate_ovis
from fewmask.metrics.precision_recall import IOU_THRESHOLDS
from fewmask.metrics.track_matching import greedy_match
from fewmask.metrics.track_overlap import track_iou, track_ious
from fewmask.metrics.ytvis import YtvisScores, evaluate_ytvis

FIXTURES = Path(__file__).parent / "fixtures" / "ytvis_eval"
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text())
RAISES = [name for name, case in EXPECTED.items() if "raises" in case]


def evaluated(name: str, *, official_quirks: bool) -> YtvisScores:
    case = EXPECTED[name]
    agnostic = not case["useCats"]
    dataset = read_ytvis(FIXTURES / case["gt"])
    results = read_ytvis_results(FIXTURES / case["pred"], dataset, any_category=agnostic, lenient=official_quirks)
    evaluate = evaluate_ovis if case["evaluator"] == "ovis" else evaluate_ytvis
    return evaluate(dataset, results, class_agnostic=agnostic, official_quirks=official_quirks)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in RAISES])
def test_recorded_figures(name: str) -> None:
    case = EXPECTED[name]
    scores = evaluated(name, official_quirks=name.startswith("quirk_"))
    assert list(scores.stats) == list(case["stats"]) or case["evaluator"] == "ovis"
    for key, value in case["stats"].items():
        assert _number(scores.stats[key]) == pytest.approx(value, abs=1e-9), key
    assert scores.per_category.keys() == case["per_category"].keys()
    for label, figures in case["per_category"].items():
        for key, value in figures.items():
            assert _number(getattr(scores.per_category[label], key)) == pytest.approx(value, abs=1e-9), (label, key)
    curves = list(scores.curves.values())
    at_thresholds = np.mean([curve.average_precision for curve in curves], axis=0)
    recorded = case["AP_per_threshold"]
    recorded = list(recorded.values()) if isinstance(recorded, dict) else recorded
    assert at_thresholds == pytest.approx(recorded, abs=1e-9)


def _number(figure: float | None) -> float:
    return -1.0 if figure is None else figure


@pytest.mark.parametrize("name", ["basic", "crowd", "areas", "equal_scores", "basic__useCats0"])
def test_quirks_change_nothing_where_there_are_none(name: str) -> None:
    assert evaluated(name, official_quirks=True).stats == evaluated(name, official_quirks=False).stats


def test_annotation_id_0_counts_as_any_other() -> None:
    dataset = read_ytvis(FIXTURES / "quirk_gt_id_0_gt.json")
    results = read_ytvis_results(FIXTURES / "quirk_gt_id_0_pred.json", dataset)
    shifted = replace(dataset, annotations=tuple(replace(a, id=a.id + 1) for a in dataset.annotations))
    scores = evaluate_ytvis(dataset, results).stats
    assert scores == evaluate_ytvis(shifted, results).stats
    assert scores["AP"] > EXPECTED["quirk_gt_id_0"]["stats"]["AP"]


@pytest.mark.parametrize("name", ["quirk_short_sequences", "quirk_unknown_category"])
def test_ill_formed_results_are_refused(name: str) -> None:
    with pytest.raises(DatasetError, match=r"_pred\.json: \[\d+\]"):
        evaluated(name, official_quirks=False)


def test_unknown_category_counts_when_class_agnostic() -> None:
    ours = evaluated("quirk_unknown_category__useCats0", official_quirks=False).stats
    assert ours["AR100"] > EXPECTED["quirk_unknown_category__useCats0"]["stats"]["AR100"]


def test_no_predictions() -> None:
    dataset = read_ytvis(FIXTURES / "quirk_no_predictions_gt.json")
    assert evaluate_ytvis(dataset, ()).stats["AP"] == 0.0
    with pytest.raises(DatasetError, match="empty"):
        evaluate_ytvis(dataset, (), official_quirks=True)


def test_ovis_needs_occlusion() -> None:
    dataset = read_ytvis(FIXTURES / "basic_gt.json")
    with pytest.raises(DatasetError, match="occlusion"):
        evaluate_ovis(dataset, ())


def test_per_video() -> None:
    dataset = read_ytvis(FIXTURES / "basic_gt.json")
    perfect = _perfect(dataset)
    scores = evaluate_ytvis(dataset, [result for result in perfect if result.video_id != 2])
    for video in scores.per_video:
        assert (0.0 if video.video_id == 2 else 1.0) == video.AR
        assert video.false_positives == 0
    assert sum(video.tracks for video in scores.per_video) == len(dataset.annotations)


# ---------------------------------------------------------------- properties

HEIGHT, WIDTH, LENGTH = 6, 7, 3
Frames = st.lists(
    st.none() | st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.integers(1, 4)),
    min_size=LENGTH,
    max_size=LENGTH,
)


def masks_of(frames: Sequence[tuple[int, int, int, int] | None]) -> list[Any]:
    masks: list[Any] = []
    for frame in frames:
        if frame is None:
            masks.append(None)
        else:
            y, x, h, w = frame
            bitmap = np.zeros((HEIGHT, WIDTH), dtype=bool)
            bitmap[y : y + h, x : x + w] = True
            masks.append(rle.encode(bitmap))
    return masks


def bitmaps(masks: Sequence[Any]) -> Any:
    empty = np.zeros((HEIGHT, WIDTH), dtype=bool)
    return np.stack([empty if mask is None else rle.decode(mask) for mask in masks])


@st.composite
def cases(draw: st.DrawFn) -> tuple[YtvisDataset, list[YtvisResult]]:
    videos = tuple(YtvisVideo(i, WIDTH, HEIGHT, LENGTH) for i in draw(st.permutations([3, 1, 8])))
    categories = tuple(YtvisCategory(i, f"class {i}") for i in (2, 5))
    where = st.tuples(st.sampled_from([1, 3, 8]), st.sampled_from([2, 5]))
    annotations = []
    for index, ((video, category), frames) in enumerate(draw(st.lists(st.tuples(where, Frames), max_size=6))):
        annotation = annotation_from_masks(
            id=index, video_id=video, category_id=category, segmentations=masks_of(frames)
        )
        annotations.append(replace(annotation, iscrowd=draw(st.integers(0, 4)) == 0))
    results = []
    for (video, category), frames in draw(st.lists(st.tuples(where, Frames), max_size=8)):
        score = draw(st.sampled_from([0.1, 0.5, 0.9]))
        results.append(
            result_from_masks(video_id=video, category_id=category, score=score, segmentations=masks_of(frames))
        )
    return YtvisDataset(videos, categories, tuple(annotations)), results


@settings(max_examples=60, deadline=None)
@given(cases(), st.booleans())
def test_nothing_valid_crashes(case: tuple[YtvisDataset, list[YtvisResult]], agnostic: bool) -> None:
    dataset, results = case
    stats = evaluate_ytvis(dataset, results, class_agnostic=agnostic).stats
    assert all(value is None or 0.0 <= value <= 1.0 for value in stats.values())
    if any(not a.iscrowd for a in dataset.annotations):
        assert stats["AP"] is not None


@settings(max_examples=40, deadline=None)
@given(cases(), st.data())
def test_order_changes_nothing(case: tuple[YtvisDataset, list[YtvisResult]], data: st.DataObject) -> None:
    dataset, results = case
    # Ties are decided by order: make every score different, and skip cases in which two true tracks are equally good.
    results = [replace(result, score=index / 10) for index, result in enumerate(results)]
    for video in (1, 3, 8):
        here = [a for a in dataset.annotations if a.video_id == video]
        for row in track_ious([r for r in results if r.video_id == video], here):
            positive = row[row >= 0.5]
            assume(len(set(positive.tolist())) == len(positive))
    shuffled = replace(
        dataset,
        videos=tuple(data.draw(st.permutations(dataset.videos))),
        categories=tuple(data.draw(st.permutations(dataset.categories))),
        annotations=tuple(data.draw(st.permutations(dataset.annotations))),
    )
    other = evaluate_ytvis(shuffled, data.draw(st.permutations(results)))
    first = evaluate_ytvis(dataset, results)
    assert other.stats == pytest.approx(first.stats, nan_ok=True)
    assert other.per_category == first.per_category


@settings(max_examples=40, deadline=None)
@given(cases())
def test_perfect_is_1_and_empty_is_0(case: tuple[YtvisDataset, list[YtvisResult]]) -> None:
    dataset, _ = case
    visible = tuple(a for a in dataset.annotations if a.mask_areas.any() and not a.iscrowd)
    dataset = replace(dataset, annotations=visible)
    assume(visible)
    scores = evaluate_ytvis(dataset, _perfect(dataset)).stats
    assert scores["AP"] == pytest.approx(1.0)
    assert scores["AR100"] == 1.0
    assert evaluate_ytvis(dataset, ()).stats["AP"] == 0.0


def _perfect(dataset: YtvisDataset) -> list[YtvisResult]:
    return [YtvisResult(a.video_id, a.category_id, 0.5, a.segmentations, a.mask_areas) for a in dataset.annotations]


@settings(max_examples=100, deadline=None)
@given(st.lists(Frames, max_size=4), st.lists(Frames, max_size=4))
def test_track_iou_agrees_with_bitmaps(rows: list[Any], columns: list[Any]) -> None:
    first = [_annotation(frames) for frames in rows]
    second = [_annotation(frames) for frames in columns]
    ious = track_ious(first, second)
    pruned = track_ious(first, second, at_least=0.5)
    for r, a in enumerate(first):
        for c, b in enumerate(second):
            x, y = bitmaps(a.segmentations), bitmaps(b.segmentations)
            union = int((x | y).sum())
            assert ious[r, c] == (int((x & y).sum()) / union if union else 0.0)
            assert track_iou(a, b) == ious[r, c]
            assert pruned[r, c] == ious[r, c] or (pruned[r, c] == 0 and ious[r, c] < 0.5)


def _annotation(frames: Any) -> YtvisAnnotation:
    return annotation_from_masks(id=1, video_id=1, category_id=2, segmentations=masks_of(frames))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_matching_agrees_with_the_loop(data: st.DataObject) -> None:
    detections, truths = data.draw(st.integers(0, 6)), data.draw(st.integers(1, 5))
    value = st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.9, 1.0])
    row = st.lists(value, min_size=truths, max_size=truths)
    rows = data.draw(st.lists(row, min_size=detections, max_size=detections))
    ious = np.array(rows, dtype=float).reshape(detections, truths)
    flags = st.lists(st.booleans(), min_size=truths, max_size=truths)
    crowd = np.array(data.draw(flags))
    ignored = np.array(data.draw(flags)) | crowd
    taken = greedy_match(ious, ignored, crowd)
    for index, threshold in enumerate(IOU_THRESHOLDS):
        assert taken[index].tolist() == _greedy_loop(ious, ignored, crowd, float(threshold))


def _greedy_loop(ious: Any, ignored: Any, crowd: Any, threshold: float) -> list[int]:
    """The rule of section 5.1 of the official description, step by step: ignored ones come last in the list."""
    order = np.argsort(ignored, kind="stable")
    used: set[int] = set()
    taken = []
    for row in ious:
        held, best = -1, threshold
        for truth in order.tolist():
            if truth in used and not crowd[truth]:
                continue
            if held >= 0 and not ignored[held] and ignored[truth]:
                break
            if row[truth] >= best:
                held, best = truth, row[truth]
        used |= {held} - {-1}
        taken.append(held)
    return taken
