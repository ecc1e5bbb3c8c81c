"""Precision and recall of ranked detections, as COCO and YouTube-VIS compute them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

IOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
RECALL_GRID: Floats = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Ranked detections of one class, at each IoU threshold."""

    precision: Floats
    """[thresholds, 101]: the best precision at any recall from the grid's value on; 0 beyond the largest recall."""
    recall: Floats
    """[thresholds]: the largest recall."""

    @property
    def average_precision(self) -> Floats:
        """[thresholds]: mean of the precision over the recall grid."""
        return np.asarray(self.precision.mean(axis=1))


def precision_recall(scores: Floats, hits: Flags, ignored: Flags, positives: int) -> PrecisionRecall | None:
    """Precision over recall of detections in the order of their scores.

    Equal scores keep the order in which they are given.

    Args:
        scores: [N].
        hits: bool [thresholds, N], the detection holds a true object.
        ignored: bool [thresholds, N], the detection counts neither for nor against.
        positives: true objects that are to be found.

    Returns:
        None where ``positives`` is 0: nothing is defined.
    """
    if positives == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    true_positives = np.cumsum((hits & ~ignored)[:, order], axis=1, dtype=np.float64)
    false_positives = np.cumsum((~hits & ~ignored)[:, order], axis=1, dtype=np.float64)
    recall = true_positives / positives
    precision = true_positives / (false_positives + true_positives + np.spacing(1))
    from_the_right = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    sampled = np.zeros((len(hits), len(RECALL_GRID)))
    for row, (row_recall, row_precision) in enumerate(zip(recall, from_the_right, strict=True)):
        at = np.searchsorted(row_recall, RECALL_GRID, side="left")
        reached = at < len(scores)
        sampled[row, reached] = row_precision[at[reached]]
    return PrecisionRecall(sampled, recall[:, -1] if len(scores) else np.zeros(len(hits)))
