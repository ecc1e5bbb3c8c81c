"""Identity switches and video AP on cases that can be counted by hand; evaluation where frames are unknown."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fewmask.datasets.ytvis import (
    YtvisCategory,
    YtvisDataset,
    YtvisResult,
    YtvisVideo,
    annotation_from_masks,
    result_from_masks,
)
from fewmask.media import rle
from fewmask.metrics.identities import IdentityCounts, evaluate_identities, identity_switches
from fewmask.metrics.video_precision import video_ap
from fewmask.metrics.ytvis import evaluate_ytvis

VIDEO = YtvisVideo(1, 30, 20, 6)
CATEGORIES = (YtvisCategory(1, "a"), YtvisCategory(2, "b"))


def at(*places: int | None) -> list[Any]:
    """One 5x5 square per frame with its left edge at the place given."""
    masks: list[Any] = []
    for left in places:
        if left is None:
            masks.append(None)
        else:
            bitmap = np.zeros((20, 30), dtype=bool)
            bitmap[4:9, left : left + 5] = True
            masks.append(rle.encode(bitmap))
    return masks


def truth(identity: int, *places: int | None, category: int = 1) -> Any:
    return annotation_from_masks(id=identity, video_id=1, category_id=category, segmentations=at(*places))


def found(*places: int | None, score: float = 0.9, category: int = 1) -> YtvisResult:
    return result_from_masks(video_id=1, category_id=category, score=score, segmentations=at(*places))


A, B = (0, 1, 2, 3, 4, 5), (20, 20, 20, 20, 20, 20)


@pytest.mark.parametrize(
    ("tracks", "counts"),
    [
        ([A, B], (0, 12)),
        ([A], (0, 6)),
        ([], (0, 0)),
        ([(*A[:3], *B[3:]), (*B[:3], *A[3:])], (2, 12)),  # the two change places
        ([(*A[:3], None, None, None), (None, None, None, *A[3:])], (1, 6)),  # handed over
        ([(0, 1, None, None, 4, 5)], (0, 4)),  # lost and found again
        ([(0, 1, None, None, None, None), (None, None, None, None, 4, 5)], (1, 4)),  # the same, by another
        ([A, A], (0, 6)),  # the one that holds it goes on
        ([(9, 9, 9, 9, 9, 9)], (0, 0)),
    ],
)
def test_switches(tracks: list[Any], counts: tuple[int, int]) -> None:
    result = identity_switches([truth(1, *A), truth(2, *B)], [found(*places) for places in tracks])
    assert result == IdentityCounts(counts[0], counts[1], 12)


def test_switches_of_a_dataset() -> None:
    dataset = YtvisDataset((VIDEO,), CATEGORIES, (truth(1, *A), replace(truth(2, *B), iscrowd=True)))
    results = [found(*A[:3], None, None, None), found(None, None, None, *A[3:], category=2), found(*B, score=0.1)]
    assert evaluate_identities(dataset, results) == IdentityCounts(0, 3, 6)
    assert evaluate_identities(dataset, results, class_agnostic=True) == IdentityCounts(1, 6, 6)
    assert evaluate_identities(dataset, results, min_score=0.95) == IdentityCounts(0, 0, 6)


def test_video_ap_per_class_and_pooled() -> None:
    dataset = YtvisDataset((VIDEO,), CATEGORIES, (truth(1, *A), truth(2, *B, category=2)))
    ap = video_ap(dataset, [found(*A, category=2), found(*B, category=2, score=0.5)])
    assert ap.per_class == {"1": 0.0, "2": pytest.approx(0.5)}
    assert ap.mean == pytest.approx(0.25)
    assert ap.pooled == pytest.approx(1.0)


def test_unknown_frames_of_a_video_count_neither_way() -> None:
    video = replace(VIDEO, annotated_frames=(1, 4))
    sparse = truth(1, None, 1, None, None, 4, None)
    dataset = YtvisDataset((video,), CATEGORIES, (sparse,))
    results = [found(*A), found(20, None, 20, 20, None, 20, score=0.95)]  # the second only where nobody looked
    scores = evaluate_ytvis(dataset, results)
    assert scores.stats["AP"] == pytest.approx(1.0)
    assert scores.per_video[0].false_positives == 0
    official = evaluate_ytvis(dataset, results, official_quirks=True)
    assert official.stats["AP"] == 0.0


def test_unknown_frames_of_one_object() -> None:
    sparse = replace(truth(1, None, 1, None, None, 4, None), annotated_frames=(1, 4))
    dataset = YtvisDataset((VIDEO,), CATEGORIES, (sparse, truth(2, *B)))
    scores = evaluate_ytvis(dataset, [found(*A), found(*B)])
    assert scores.stats["AP"] == pytest.approx(1.0)
