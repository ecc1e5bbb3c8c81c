"""The regularization loss L_p: minus the IoU of what two consecutive frames select (Eq. 5)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fewmask.mining.overlap import pack, shared_pixels


def consistency_loss(selected: npt.NDArray[np.bool_], following: npt.NDArray[np.bool_]) -> float:
    """L_p of Eq. 5 for the unions of the selected masks, bool [H, W] each; 0 when nothing is selected in both."""
    union = int((selected | following).sum())
    return -int((selected & following).sum()) / union if union else 0.0


def consistency_table(
    masks: npt.NDArray[np.bool_],
    combinations: Sequence[tuple[int, ...]],
    following_masks: npt.NDArray[np.bool_],
    following_combinations: Sequence[tuple[int, ...]],
) -> npt.NDArray[np.float64]:
    """L_p between every combination of a frame and every one of the next, [K, K'].

    Args:
        masks: candidate masks of the frame, bool [N, H, W].
        combinations: K tuples of mask indices.
        following_masks: candidate masks of the next frame, bool [N', H, W].
        following_combinations: K' tuples of its mask indices.
    """
    before, after = unions(pack(masks), combinations), unions(pack(following_masks), following_combinations)
    return negative_iou(before, after)


def unions(packed: npt.NDArray[np.uint64], combinations: Sequence[tuple[int, ...]]) -> npt.NDArray[np.uint64]:
    """The union of each combination of packed masks [N, W'], again packed [K, W']."""
    words = packed.shape[1]
    joined = np.zeros((len(combinations), words), dtype=np.uint64)
    for k, combination in enumerate(combinations):
        if combination:
            np.bitwise_or.reduce(packed[list(combination)], axis=0, out=joined[k])
    return joined


def negative_iou(before: npt.NDArray[np.uint64], after: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """-IoU between packed unions [K, W'] and [K', W'], float64 [K, K']; 0 where both are empty."""
    words = min(before.shape[1], after.shape[1])  # without masks a frame has one word of padding
    shared = shared_pixels(before[:, :words], after[:, :words])
    first, second = (np.bitwise_count(packed).sum(axis=1, dtype=np.int64) for packed in (before, after))
    union = first[:, None] + second[None] - shared
    iou: npt.NDArray[np.float64] = shared / np.maximum(union, 1)
    return -iou
