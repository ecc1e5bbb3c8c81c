"""Region similarity J: intersection over union of two masks (DAVIS; FSVOS uses the same)."""

import numpy as np
import numpy.typing as npt

from fewmask.metrics.mask_arrays import BoolMask, each_frame

Floats = npt.NDArray[np.float64]


def region_similarity(pred: npt.ArrayLike, gt: npt.ArrayLike, *, void: npt.ArrayLike | None = None) -> float | Floats:
    """J in [0, 1]: a float for one frame [H, W], float64 [T] for a stack [T, H, W]; 1 where both masks are empty.

    Args:
        pred: predicted mask, non-zero is inside.
        gt: true mask of the same shape.
        void: pixels that do not count, of the same shape.

    Raises:
        DatasetError: the shapes do not fit.
    """
    return each_frame(_region, pred, gt, void)


def _region(pred: BoolMask, gt: BoolMask, void: BoolMask | None) -> float:
    intersection, union = shared_and_covered(pred, gt, void)
    return intersection / union if union else 1.0


def shared_and_covered(pred: BoolMask, gt: BoolMask, void: BoolMask | None = None) -> tuple[int, int]:
    """Pixels of the intersection and of the union; masks of any equal shape."""
    if void is not None:
        pred, gt = pred & ~void, gt & ~void
    intersection = int(np.count_nonzero(pred & gt))
    return intersection, int(np.count_nonzero(pred)) + int(np.count_nonzero(gt)) - intersection
