"""Bitmaps as rows of 64-bit words: an eighth of the memory, and 64 pixels per operation."""

import math

import numpy as np
import numpy.typing as npt

from fewmask.metrics.mask_arrays import BoolMask

Words = npt.NDArray[np.uint64]


def pack(mask: BoolMask, margin: int) -> Words:
    """bool [H, W] as uint64 [H, ceil((W + margin) / 64)]; column x is bit x mod 64 of word x // 64, the margin is 0."""
    height, width = mask.shape
    packed = np.zeros((height, -(-(width + margin) // 64) * 8), dtype=np.uint8)
    packed[:, : -(-width // 8)] = np.packbits(mask, axis=1, bitorder="little")
    return packed.view("<u8")


def unpack(words: Words, width: int) -> BoolMask:
    """The first ``width`` columns as bool [H, width]."""
    return np.unpackbits(words.view(np.uint8), axis=1, count=width, bitorder="little").view(bool)


def count(words: Words) -> int:
    """Pixels inside."""
    return int.from_bytes(words.tobytes(), "little").bit_count()


def outline(mask: Words, width: int) -> Words:
    """The one-pixel outline: pixels that differ from their right, lower or lower right neighbour.

    In the last row only the right, in the last column only the lower neighbour counts; the last pixel is never outline.
    """
    has_right = np.zeros(mask.shape[1] * 64, dtype=bool)
    has_right[: width - 1] = True
    columns = pack(has_right[None], 0)
    right = mask >> np.uint64(1)
    right[:, :-1] |= mask[:, 1:] << np.uint64(63)
    edge = (mask ^ right) & columns
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1] |= (mask[:-1] ^ right[1:]) & columns
    return edge


def dilate(mask: Words, radius: int) -> Words:
    """All pixels within ``radius`` of the mask, by the disk x² + y² <= radius²; the margin must be ``radius`` or more.

    A pixel belongs to it if, some rows up or down, the mask has a pixel not farther sideways than the disk is wide
    there. So columns are dilated step by step, and at each step the rows for which the disk is that wide are added.
    Pixels of the margin are set as well and mean nothing.
    """
    height, words = mask.shape
    flat = mask.reshape(-1)  # what leaves a row on the left ends in the margin of the row above
    near = flat.copy()  # within `reach` columns
    grown = flat.copy()
    rows_at: dict[int, list[int]] = {}
    for rows in range(1, min(radius, height - 1) + 1):
        rows_at.setdefault(math.isqrt(radius * radius - rows * rows), []).append(rows)
    for reach in range(radius + 1):
        if reach:
            _add_shifted(near, flat, reach)
        for rows in rows_at.get(reach, []):
            step = rows * words
            grown[step:] |= near[:-step]
            grown[:-step] |= near[step:]
    grown |= near
    return grown.reshape(height, words)


def _add_shifted(into: Words, flat: Words, columns: int) -> None:
    """Add ``flat`` shifted by ``columns`` to the right and to the left."""
    skip, bits = divmod(columns, 64)
    here, there = np.uint64(bits), np.uint64(64 - bits)
    size = len(flat)
    if bits:
        into[skip:] |= flat[: size - skip] << here
        into[: size - skip] |= flat[skip:] >> here
        into[skip + 1 :] |= flat[: max(size - skip - 1, 0)] >> there
        into[: max(size - skip - 1, 0)] |= flat[skip + 1 :] << there
    else:
        into[skip:] |= flat[: size - skip]
        into[: size - skip] |= flat[skip:]
