"""Video consistency VC: does a segmentation stay right over n consecutive frames? Three definitions go by the name."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError
from fewmask.metrics.mask_arrays import BoolMask, as_bool

Floats = npt.NDArray[np.float64]


def vc_vipmt(pred: npt.ArrayLike, gt: npt.ArrayLike, n: int) -> float | None:
    """VC_n of one video as VIPMT computes it: mean over all T - n + 1 windows.

    The value of a window is the share of the pixels that are true foreground in all its frames which are predicted
    foreground in all its frames; a window without such pixels counts 0.

    Args:
        pred: predicted masks [T, H, W], non-zero is foreground.
        gt: true masks of the same shape.
        n: frames of a window.

    Returns:
        In [0, 1]; None if the video has less than n frames.

    Raises:
        DatasetError: the shapes do not fit, or n is less than 1.
    """
    values = _foreground_windows(pred, gt, n)
    return float(values.mean()) if len(values) else None


def vc_tti(pred: npt.ArrayLike, gt: npt.ArrayLike, n: int) -> float:
    """VC_n of one video as TTI computes it: as `vc_vipmt`, but the last window is left out.

    A video that has no window then (T <= n) scores 0 and counts as any other.

    Raises:
        DatasetError: the shapes do not fit, or n is less than 1.
    """
    values = _foreground_windows(pred, gt, n)[:-1]
    return float(values.mean()) if len(values) else 0.0


def vc_vspw(pred_labels: npt.ArrayLike, gt_labels: npt.ArrayLike, n: int) -> float | None:
    """VC_n of one video as VSPW computes it, on label maps: mean over T - n windows.

    The value of a window is the share of the pixels whose true label, background included, is the same in all its
    frames for which the *predicted* label is the same in all its frames, right or wrong: a constant wrong label
    scores 1.

    Args:
        pred_labels: predicted labels [T, H, W], whole numbers.
        gt_labels: true labels of the same shape.
        n: frames of a window.

    Returns:
        In [0, 1]; None if the video has no window (T <= n) or no window has a pixel of constant true label.

    Raises:
        DatasetError: the shapes do not fit, or n is less than 1.
    """
    return _mean(vspw_windows(pred_labels, gt_labels, n))


def vc_vspw_dataset(videos: Iterable[Floats]) -> float | None:
    """VSPW's figure for a dataset: mean over the windows (`vspw_windows`) of all videos; None if there is none."""
    return _mean(np.concatenate([np.zeros(0), *videos]))


def vspw_windows(pred_labels: npt.ArrayLike, gt_labels: npt.ArrayLike, n: int) -> Floats:
    """The value of each of the T - n windows that `vc_vspw` averages; NaN where no true label is constant.

    Raises:
        DatasetError: as `vc_vspw`.
    """
    pred, gt = _stacks(np.asarray(pred_labels), np.asarray(gt_labels), n)
    values = []
    kept_pred, kept_gt = (np.zeros(gt.shape[1:], dtype=np.int32) for _ in range(2))  # frames since the last change
    for frame in range(len(gt)):
        if frame:
            kept_pred = np.where(pred[frame] == pred[frame - 1], kept_pred + 1, 0)
            kept_gt = np.where(gt[frame] == gt[frame - 1], kept_gt + 1, 0)
        if n - 1 <= frame < len(gt) - 1:
            values.append(_share(kept_pred >= n - 1, kept_gt >= n - 1, np.nan))
    return np.array(values, dtype=np.float64)


def _foreground_windows(pred: npt.ArrayLike, gt: npt.ArrayLike, n: int) -> Floats:
    """The value of each of the T - n + 1 windows of binary masks."""
    first, second = _stacks(as_bool(pred), as_bool(gt), n)
    values = []
    run_pred, run_gt = (np.zeros(second.shape[1:], dtype=np.int32) for _ in range(2))  # foreground frames up to now
    for frame in range(len(second)):
        run_pred = (run_pred + 1) * first[frame]
        run_gt = (run_gt + 1) * second[frame]
        if frame >= n - 1:
            values.append(_share(run_pred >= n, run_gt >= n, 0.0))
    return np.array(values, dtype=np.float64)


def _share(common_pred: BoolMask, common_gt: BoolMask, otherwise: float) -> float:
    pixels = np.count_nonzero(common_gt)
    return np.count_nonzero(common_pred & common_gt) / pixels if pixels else otherwise


def _mean(windows: Floats) -> float | None:
    defined = windows[~np.isnan(windows)]
    return float(defined.mean()) if len(defined) else None


def _stacks(
    pred: npt.NDArray[np.generic], gt: npt.NDArray[np.generic], n: int
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    if pred.shape != gt.shape or pred.ndim != 3:
        raise DatasetError(f"prediction {pred.shape} and ground truth {gt.shape} must have one shape [T, H, W]")
    if n < 1:
        raise DatasetError(f"a window of {n} frames; VC needs at least 1")
    return pred, gt
