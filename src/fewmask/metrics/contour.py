"""Contour accuracy F: how well two outlines agree within a tolerance (DAVIS; FSVOS uses the same)."""

import math

import numpy as np
import numpy.typing as npt

from fewmask.metrics.bit_rows import count, dilate, outline, pack
from fewmask.metrics.mask_arrays import BoolMask, bounding_window, each_frame

Floats = npt.NDArray[np.float64]

TOLERANCE = 0.008
"""Of the frame's diagonal: 8 pixels at 480x854."""


def contour_accuracy(
    pred: npt.ArrayLike, gt: npt.ArrayLike, *, void: npt.ArrayLike | None = None, tolerance: float = TOLERANCE
) -> float | Floats:
    """F in [0, 1]: a float for one frame [H, W], float64 [T] for a stack [T, H, W].

    F = 2PR / (P + R), where P is the share of the predicted outline that lies within the tolerance of the true one
    and R the reverse; 1 if neither mask has an outline (empty, or the full frame), 0 if one has none.

    Args:
        pred: predicted mask, non-zero is inside.
        gt: true mask of the same shape.
        void: pixels that count as outside both masks, of the same shape.
        tolerance: share of the frame's diagonal, rounded up to pixels; if 1 or more, pixels. Raising it is more
        lenient.

    Raises:
        DatasetError: the shapes do not fit.
    """

    def metric(pred: BoolMask, gt: BoolMask, void: BoolMask | None) -> float:
        if void is not None:
            pred, gt = pred & ~void, gt & ~void
        return _contour(pred, gt, tolerance_pixels(gt.shape[0], gt.shape[1], tolerance))

    return each_frame(metric, pred, gt, void)


def tolerance_pixels(height: int, width: int, tolerance: float = TOLERANCE) -> int:
    """The radius in pixels within which outlines agree."""
    return math.ceil(tolerance if tolerance >= 1 else tolerance * math.hypot(height, width))


def _contour(pred: BoolMask, gt: BoolMask, radius: int) -> float:
    # Outlines lie inside the masks or one pixel above or left of them; everything else is cut off first.
    window = bounding_window(pred | gt, 1)
    if window is None:
        return 1.0
    cut_pred, cut_gt = pred[window], gt[window]
    width = cut_gt.shape[1]
    pred_outline = outline(pack(cut_pred, radius), width)
    gt_outline = outline(pack(cut_gt, radius), width)
    pred_pixels, gt_pixels = count(pred_outline), count(gt_outline)
    if pred_pixels == 0 or gt_pixels == 0:
        return 1.0 if pred_pixels == gt_pixels else 0.0
    precision = count(pred_outline & dilate(gt_outline, radius)) / pred_pixels
    recall = count(gt_outline & dilate(pred_outline, radius)) / gt_pixels
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
