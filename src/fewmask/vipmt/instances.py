"""A class mask taken apart into connected components, which keep their ids from frame to frame."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from fewmask.media import rle

MIN_SHARE = 0.0005
"""Components smaller than this share of the picture are left out as specks."""
MIN_OVERLAP = 0.1
"""IoU with its place in the frame before from which a component keeps its id."""


class InstanceLinker:
    """Gives each component the id of the component of the last frame that it overlaps most, or a new one.

    Ids are ``1 + offset``, ``1 + offset + step``, ...: linkers of several classes never share one.
    """

    def __init__(self, step: int = 1, offset: int = 0) -> None:
        self._stride = step
        self._next = 1 + offset
        self._last: dict[int, npt.NDArray[np.bool_]] = {}

    def step(self, mask: npt.NDArray[np.bool_]) -> list[tuple[int, npt.NDArray[np.bool_]]]:
        """Bool [H, W] -> (id, bool [H, W]) of each component, largest first."""
        parts = components(mask)
        ids = list(self._last)
        overlap = np.array([[iou(part, self._last[key]) for key in ids] for part in parts]).reshape(
            len(parts), len(ids)
        )
        rows, columns = linear_sum_assignment(-overlap)
        kept = {
            row: ids[column] for row, column in zip(rows, columns, strict=True) if overlap[row, column] >= MIN_OVERLAP
        }
        linked = [(kept[row] if row in kept else self._fresh(), part) for row, part in enumerate(parts)]
        self._last = dict(linked)
        return linked

    def state(self) -> dict[str, Any]:
        """What going on needs, as plain JSON values."""
        return {"next": self._next, "last": [[key, rle.encode(part)] for key, part in self._last.items()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from another linker's `state`."""
        self._next = state["next"]
        self._last = {key: rle.decode(part) for key, part in state["last"]}

    def _fresh(self) -> int:
        fresh = self._next
        self._next += self._stride
        return fresh


def components(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
    """The 8-connected components of bool [H, W] that are no specks, largest first."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)  # labelling all of a large picture is slow
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask[box].astype(np.uint8), connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA]
    large = [label for label in range(1, len(areas)) if areas[label] >= MIN_SHARE * mask.size]
    parts = []
    for label in sorted(large, key=lambda label: -int(areas[label])):
        part = np.zeros(mask.shape, dtype=bool)
        part[box] = labels == label
        parts.append(part)
    return parts


def iou(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Intersection over union of two bool [H, W]; 0 if both are empty."""
    both = np.count_nonzero(first & second)
    union = np.count_nonzero(first) + np.count_nonzero(second) - both
    return both / union if union else 0.0
