"""Mask logits to RLE at full size, computing only the pixels that can lie inside.

The official procedure resizes every mask twice as a whole. Bilinear resizing is linear and separable, so both steps
and the crop between them are one matrix per axis; and a pixel can only be positive where one of the few low-resolution
logits it blends is. Each mask is therefore computed inside the box of its positive logits alone.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.media import rle
from fewmask.media.rle import Rle

Floats = npt.NDArray[np.float32]


class MaskEncoder:
    """Resizes and encodes masks of one video.

    Args:
        low_size: (h, w) of the logits.
        padded_size: (H, W) of the padded network input.
        image_size: (H, W) of the frame inside it.
        output_size: (H, W) of the masks.
    """

    def __init__(
        self,
        low_size: tuple[int, int],
        padded_size: tuple[int, int],
        image_size: tuple[int, int],
        output_size: tuple[int, int],
    ) -> None:
        self.output_size = output_size
        self._rows = _Axis(low_size[0], padded_size[0], image_size[0], output_size[0])
        self._columns = _Axis(low_size[1], padded_size[1], image_size[1], output_size[1])

    def encode(self, logits: npt.NDArray[Any]) -> list[Rle | None]:
        """Masks of ``logits`` [N, h, w] (inside where the resized logit is above 0), None for empty ones."""
        found: list[Rle | None] = [None] * len(logits)
        kept, bitmaps = [], []
        for index, low in enumerate(logits):
            positive = low > 0
            rows, columns = np.flatnonzero(positive.any(1)), np.flatnonzero(positive.any(0))
            if len(rows) == 0:
                continue
            top, bottom, down = self._rows.reach(int(rows[0]), int(rows[-1]))
            left, right, across = self._columns.reach(int(columns[0]), int(columns[-1]))
            block = low[down, across].astype(np.float32)
            inside = self._rows.matrix[top:bottom, down] @ block @ self._columns.matrix[left:right, across].T > 0
            if not inside.any():
                continue
            bitmap = np.zeros(self.output_size, dtype=bool)
            bitmap[top:bottom, left:right] = inside
            kept.append(index)
            bitmaps.append(bitmap)
        if kept:
            for index, mask in zip(kept, rle.encode_many(np.stack(bitmaps)), strict=True):
                found[index] = mask
        return found


class _Axis:
    """Resizing along one axis: ``matrix`` [output, low], and which part of it a range of logits touches."""

    def __init__(self, low: int, padded: int, image: int, output: int) -> None:
        self.matrix = (_bilinear(image, output) @ _bilinear(low, padded)[:image]).astype(np.float32)
        used = self.matrix > 0
        # Weights of an output pixel are one run of logits; runs only move forward from pixel to pixel.
        self._first, self._last = used.argmax(1), low - 1 - used[:, ::-1].argmax(1)

    def reach(self, first: int, last: int) -> tuple[int, int, slice]:
        """Output pixels [start, stop) that blend any of the logits first..last, and all logits those blend."""
        start = int(np.searchsorted(self._last, first, side="left"))
        stop = int(np.searchsorted(self._first, last, side="right"))
        if stop <= start:  # the logits lie in the padding
            return 0, 0, slice(0, 0)
        return start, stop, slice(int(self._first[start]), int(self._last[stop - 1]) + 1)


def _bilinear(size: int, wanted: int) -> npt.NDArray[np.float64]:
    """Matrix [wanted, size] of bilinear resizing with half-pixel centres, edges repeated."""
    position = np.maximum((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0)
    lower = np.minimum(np.floor(position).astype(int), size - 1)
    upper = np.minimum(lower + 1, size - 1)
    share = position - lower
    matrix = np.zeros((wanted, size))
    np.add.at(matrix, (np.arange(wanted), lower), 1 - share)
    np.add.at(matrix, (np.arange(wanted), upper), share)
    return matrix
