"""How many pixels masks share, and what their runs of pixels sum to, without touching a pixel twice."""

import numpy as np
import numpy.typing as npt

Packed = npt.NDArray[np.uint64]


def pack(masks: npt.NDArray[np.bool_]) -> Packed:
    """Masks bool [N, H, W] as uint64 words [N, W']: one bit a pixel, zero padded."""
    count = len(masks)
    octets = np.packbits(masks.reshape(count, -1), axis=1) if count else np.zeros((0, 8), np.uint8)
    padding = -octets.shape[1] % 8
    return np.pad(octets, ((0, 0), (0, padding))).view(np.uint64)


def shared_pixels(rows: Packed, columns: Packed) -> npt.NDArray[np.int64]:
    """Pixels that each row mask shares with each column mask, int64 [R, C]."""
    shared = np.zeros((len(rows), len(columns)), dtype=np.int64)
    for r, row in enumerate(rows):
        shared[r] = np.bitwise_count(row & columns).sum(axis=1, dtype=np.int64)
    return shared


def sums_over_masks(values: npt.NDArray[np.int64], masks: npt.NDArray[np.bool_]) -> list[int]:
    """The sum of ``values`` [H, W] over the pixels of each mask [N, H, W], as exact integers.

    One cumulative sum, then two look-ups per run of pixels: the cost follows the outline of a mask, not its area.
    """
    before = np.concatenate(([0], np.cumsum(values)))  # before[i] = sum of the first i values
    return [_sum_over_runs(before, mask.reshape(-1)) for mask in masks]


def _sum_over_runs(before: npt.NDArray[np.int64], flat: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1  # alternately: a run begins, a run ends
    if flat[0]:
        edges = np.concatenate(([0], edges))
    if flat[-1]:
        edges = np.concatenate((edges, [len(flat)]))
    marks = before[edges]
    return int((marks[1::2] - marks[0::2]).sum())
