"""How many pixels masks share, and what their pixels sum to, without touching a pixel twice."""

import numpy as np
import numpy.typing as npt

Packed = npt.NDArray[np.uint64]


def pack(masks: npt.NDArray[np.bool_]) -> Packed:
    """Masks bool [N, H, W] as uint64 words [N, W']: one bit a pixel, zero padded."""
    count = len(masks)
    octets = np.packbits(masks.reshape(count, -1), axis=1) if count else np.zeros((0, 8), np.uint8)
    padding = -octets.shape[1] % 8
    return (np.pad(octets, ((0, 0), (0, padding))) if padding else octets).view(np.uint64)


def shared_pixels(rows: Packed, columns: Packed) -> npt.NDArray[np.int64]:
    """Pixels that each row mask shares with each column mask, int64 [R, C]."""
    shared = np.zeros((len(rows), len(columns)), dtype=np.int64)
    for r, row in enumerate(rows):
        shared[r] = np.bitwise_count(row & columns).sum(axis=1, dtype=np.int64)
    return shared


def conflicts(packed: Packed, tolerance: int) -> list[int]:
    """For each mask the bit set of the other masks with which it shares more than ``tolerance`` pixels."""
    found = [0] * len(packed)
    for i, mask in enumerate(packed):
        common = mask & packed[i + 1 :]
        much = common.any(axis=1) if tolerance == 0 else np.bitwise_count(common).sum(axis=1) > tolerance
        for j in np.flatnonzero(much) + i + 1:
            found[i] |= 1 << int(j)
            found[j] |= 1 << i
    return found


def sums_over_masks(values: npt.NDArray[np.int64], masks: npt.NDArray[np.bool_], packed: Packed) -> list[int]:
    """The sum of ``values`` [H, W] over the pixels of each mask [N, H, W], as exact integers.

    One cumulative sum, then two look-ups per run of pixels: the cost follows the outline of a mask, not its area.
    """
    before = np.zeros(values.size + 1, dtype=np.int64)  # before[i] = sum of the first i values
    np.cumsum(values, out=before[1:])
    return [_sum_over_runs(before, mask.reshape(-1), words) for mask, words in zip(masks, packed, strict=True)]


def _sum_over_runs(before: npt.NDArray[np.int64], flat: npt.NDArray[np.bool_], words: Packed) -> int:
    used = np.flatnonzero(words)
    if not len(used):
        return 0
    start = 64 * int(used[0])  # the first and the last word that hold a pixel
    part = flat[start : 64 * (int(used[-1]) + 1)]
    edges = np.flatnonzero(part[1:] != part[:-1]) + (start + 1)  # alternately: a run begins, a run ends
    if part[0]:
        edges = np.concatenate(([start], edges))
    if part[-1]:
        edges = np.concatenate((edges, [start + len(part)]))
    marks = before[edges]
    return int((marks[1::2] - marks[0::2]).sum())
