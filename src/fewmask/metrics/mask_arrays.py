"""Bitmaps as the metrics take them: any dtype, non-zero is inside, one frame or a stack of frames."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError

BoolMask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
FrameMetric = Callable[[BoolMask, BoolMask, BoolMask | None], float]


def each_frame(
    metric: FrameMetric, pred: npt.ArrayLike, gt: npt.ArrayLike, void: npt.ArrayLike | None
) -> float | Floats:
    """``metric`` of one frame [H, W], or of each frame of a stack [T, H, W] as float64 [T].

    Raises:
        DatasetError: the shapes differ, are empty, or are no frames.
    """
    first, second = as_bool(pred), as_bool(gt)
    outside = None if void is None else as_bool(void)
    if first.shape != second.shape or (outside is not None and outside.shape != second.shape):
        shapes = f"{first.shape} and {second.shape}" + ("" if outside is None else f", void {outside.shape}")
        raise DatasetError(f"prediction and ground truth must have one shape, not {shapes}")
    if first.ndim not in (2, 3) or 0 in first.shape[-2:]:
        raise DatasetError(f"masks of shape {first.shape}; expected [H, W] or [T, H, W] with pixels in them")
    if first.ndim == 2:
        return metric(first, second, outside)
    return np.array(
        [
            metric(first[frame], second[frame], None if outside is None else outside[frame])
            for frame in range(len(first))
        ],
        dtype=np.float64,
    )


def as_bool(mask: npt.ArrayLike) -> BoolMask:
    """A mask as a bool array; every value but 0 is inside.

    Raises:
        DatasetError: not an array of bool or numbers.
    """
    array: npt.NDArray[Any] = np.asarray(mask)
    if array.dtype == bool:
        return array
    if array.dtype.kind not in "iuf":
        raise DatasetError(f"a mask of dtype {array.dtype}; expected bool or numbers")
    return np.asarray(array != 0)


def bounding_window(mask: BoolMask, margin: int) -> tuple[slice, slice] | None:
    """Rows and columns of the smallest box around what is inside, grown by ``margin``; None if nothing is."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1])
    columns = np.flatnonzero(mask[top : bottom + 1].any(axis=0))
    left, right = int(columns[0]), int(columns[-1])
    return slice(max(top - margin, 0), bottom + 1 + margin), slice(max(left - margin, 0), right + 1 + margin)
