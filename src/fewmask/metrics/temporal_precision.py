"""Average precision of stretches of time, as ActivityNet and THUMOS14 measure it, at thresholds of temporal IoU.

A detection, best first over all videos, is right if of the true stretches of its video that no better detection has
taken, the one it overlaps most reaches the threshold. Precision is made to fall with recall, and AP is its area over
recall. Self-Shot's "video mAP with an overlap threshold of 0.5" (Table 2) is the mean of these over the classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError
from fewmask.metrics.precision_recall import IOU_THRESHOLDS

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A detection: from ``start`` to ``end`` in any unit, and how sure it is."""

    start: float
    end: float
    score: float


def temporal_iou(rows: Floats, columns: Floats) -> Floats:
    """Intersection over union of stretches [R, 2] and [C, 2] (start, end): [R, C]; 0 where both have no length."""
    rows, columns = rows.reshape(-1, 2), columns.reshape(-1, 2)
    low = np.maximum(rows[:, None, 0], columns[None, :, 0])
    high = np.minimum(rows[:, None, 1], columns[None, :, 1])
    shared = np.clip(high - low, 0, None)
    union = (rows[:, 1] - rows[:, 0])[:, None] + (columns[:, 1] - columns[:, 0])[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def temporal_ap(
    found: Mapping[str, Sequence[Stretch]],
    truth: Mapping[str, Sequence[tuple[float, float]]],
    thresholds: Sequence[float] = tuple(IOU_THRESHOLDS),
) -> Floats | None:
    """Average precision of one class at each threshold; None where there is no true stretch.

    Args:
        found: detections by video; equal scores keep the order in which they are given.
        truth: true (start, end) by video; a video that shows nothing has an empty list.
        thresholds: of temporal IoU, in (0, 1].

    Raises:
        DatasetError: detections in a video that ``truth`` does not know.
    """
    unknown = sorted(found.keys() - truth.keys())
    if unknown:
        raise DatasetError(f"detections in {unknown[0]!r}, a video that the truth does not have")
    positives = sum(map(len, truth.values()))
    if positives == 0:
        return None
    ranked = [(stretch, video) for video, stretches in found.items() for stretch in stretches]
    ranked.sort(key=lambda pair: -pair[0].score)  # stable
    hits = np.zeros((len(thresholds), len(ranked)), dtype=bool)
    taken = {video: np.zeros((len(thresholds), len(true)), dtype=bool) for video, true in truth.items()}
    for rank, (stretch, video) in enumerate(ranked):
        if not truth[video]:
            continue
        overlap = temporal_iou(np.array([[stretch.start, stretch.end]]), np.array(truth[video], dtype=float))[0]
        for row, threshold in enumerate(thresholds):
            free = np.where(taken[video][row], -1.0, overlap)
            best = int(free.argmax())
            if free[best] >= threshold:
                hits[row, rank] = taken[video][row, best] = True
    return np.array([_area(row, positives) for row in hits])


def mean_temporal_ap(
    found: Mapping[str, Mapping[str, Sequence[Stretch]]],
    truth: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    thresholds: Sequence[float] = tuple(IOU_THRESHOLDS),
) -> Floats | None:
    """Mean over the classes of ``truth`` that have a true stretch, at each threshold; None where none has."""
    rows = [temporal_ap(found.get(label, {}), videos, thresholds) for label, videos in truth.items()]
    known = [row for row in rows if row is not None]
    return np.mean(known, axis=0) if known else None


def _area(hits: npt.NDArray[np.bool_], positives: int) -> float:
    """Area under the interpolated precision over recall of ranked detections."""
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(precision[hits].sum() / positives)
