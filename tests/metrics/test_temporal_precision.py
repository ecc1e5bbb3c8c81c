"""Temporal AP against a plain loop over everything, and against figures that can be seen by eye."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.errors import DatasetError
from fewmask.metrics.temporal_precision import Stretch, mean_temporal_ap, temporal_ap, temporal_iou

ENDS = st.tuples(st.integers(0, 12), st.integers(1, 8)).map(lambda pair: (float(pair[0]), float(sum(pair))))
VIDEOS = st.lists(
    st.tuples(st.lists(ENDS, max_size=4), st.lists(st.tuples(ENDS, st.integers(0, 5)), max_size=5)),
    min_size=1, max_size=4,
)  # fmt: skip


def overlap(a, b):
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / (a[1] - a[0] + b[1] - b[0] - shared)


def plain(found, truth, threshold):
    """AP as its definition reads: area under the largest precision at any recall not below."""
    ranked = sorted(((s.score, v, s) for v, row in found.items() for s in row), key=lambda x: -x[0])
    taken, points, right = set(), [], 0
    positives = sum(map(len, truth.values()))
    for rank, (_, video, stretch) in enumerate(ranked, 1):
        best, which = -1.0, None
        for place, true in enumerate(truth[video]):
            value = overlap((stretch.start, stretch.end), true)
            if (video, place) not in taken and value > best:
                best, which = value, (video, place)
        if which is not None and best >= threshold:
            taken.add(which)
            right += 1
        points.append((right / positives, right / rank))
    area = 0.0
    for step in range(1, positives + 1):
        reached = [p for r, p in points if r >= step / positives - 1e-12]
        area += max(reached, default=0.0) / positives
    return area


@given(VIDEOS)
@settings(deadline=None)
def test_equals_the_plain_loop(videos):
    truth = {str(i): true for i, (true, _) in enumerate(videos)}
    found = {str(i): [Stretch(*ends, score / 5) for ends, score in row] for i, (_, row) in enumerate(videos)}
    thresholds = (0.3, 0.5, 0.75, 1.0)
    scores = temporal_ap(found, truth, thresholds)
    if not any(truth.values()):
        assert scores is None
        return
    assert scores == pytest.approx([plain(found, truth, t) for t in thresholds])


def test_figures_seen_by_eye():
    truth = {"a": [(0.0, 10.0), (20.0, 30.0)], "b": []}
    sure = [Stretch(0, 10, 0.9), Stretch(20, 25, 0.8)]
    assert temporal_ap({"a": sure}, truth, (0.5, 0.6)) == pytest.approx([1.0, 0.5])
    # A better-scored wrong one halves the precision at the first right one.
    assert temporal_ap({"a": sure, "b": [Stretch(0, 1, 1.0)]}, truth, (0.5,)) == pytest.approx([2 / 3])
    # A second detection of the same stretch is wrong.
    assert temporal_ap({"a": [*sure[:1], Stretch(1, 10, 0.85), sure[1]]}, truth, (0.5,)) == pytest.approx([0.5 + 1 / 3])


def test_mean_leaves_out_classes_without_truth():
    truth = {"jump": {"a": [(0.0, 1.0)]}, "run": {"a": []}, "swim": {"b": [(0.0, 1.0)]}}
    found = {"jump": {"a": [Stretch(0, 1, 0.5)]}}
    assert mean_temporal_ap(found, truth, (0.5,)) == pytest.approx([0.5])
    assert mean_temporal_ap(found, {"run": {"a": []}}) is None


def test_unknown_video_is_refused():
    with pytest.raises(DatasetError, match="'c'"):
        temporal_ap({"c": []}, {"a": [(0.0, 1.0)]})


def test_iou_of_points_is_zero():
    assert temporal_iou(np.array([[1.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 2.0]])).tolist() == [[0.0, 0.0]]
