"""A hundred bytes by which a copied clip is known again, whatever its file, size or compression.

Not by its embedding: two clips of one street are rightly close to each other there, and how close differs between
encoders.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Look = npt.NDArray[np.uint8]
SAME = 0.995
"""Correlation from which two looks are one clip: re-encoded at half the size it is above 0.999, another moment before a
still camera stays below 0.99."""
_CELLS = 6


def look_of(pictures: npt.NDArray[np.uint8]) -> Look:
    """First, middle and last picture of a clip, uint8 [T, S, S, 3], as grey 6x6 cells: uint8 [108]."""
    chosen = (pictures[0], pictures[len(pictures) // 2], pictures[-1])
    cells = [
        cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
        for picture in chosen
    ]
    return np.asarray(np.stack(cells), np.uint8).ravel()


def same_clip(look: Look, others: Sequence[Look]) -> npt.NDArray[np.bool_]:
    """Which of ``others`` show the same clip; two clips without any structure count as the same."""
    if not others:
        return np.zeros(0, bool)
    left, right = look.astype(np.float64), np.stack(others).astype(np.float64)
    left, right = left - left.mean(), right - right.mean(1, keepdims=True)
    correlation = (right @ left + 1) / (np.linalg.norm(right, axis=1) * np.linalg.norm(left) + 1)
    return np.asarray(correlation >= SAME)
