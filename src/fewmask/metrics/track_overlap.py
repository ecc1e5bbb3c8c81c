"""Spatio-temporal IoU of tracks: pixels shared over all frames, divided by pixels covered over all frames.

Area counts and run lengths are all it takes; no bitmap is made. Pairs that cannot reach the wanted IoU, because their
areas differ too much frame by frame, are never looked at.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from fewmask.media.rle import Rle

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.int64]


class Track(Protocol):
    """Masks of one object over all frames of a video, and the pixels inside each (0 where absent)."""

    @property
    def segmentations(self) -> list[Rle | None]:
        """One entry per frame; None where absent."""

    @property
    def mask_areas(self) -> Pixels:
        """int64 [T]."""


def track_iou(first: Track, second: Track) -> float:
    """IoU of two tracks of one video, in [0, 1]; 0 if both are empty (YouTube-VIS, definition of the video IoU)."""
    return float(track_ious([first], [second])[0, 0])


def track_ious(rows: Sequence[Track], columns: Sequence[Track], *, at_least: float = 0.0) -> Floats:
    """IoU of every row with every column, float64 [R, C].

    None counts as an empty mask. A frame in which two masks have different sizes counts for neither (it cannot
    happen in validated files).

    Args:
        rows: tracks of one video.
        columns: tracks of the same video, with as many frames.
        at_least: pairs that provably stay below it may be reported as 0; raising it saves time.
    """
    if not rows or not columns:
        return np.zeros((len(rows), len(columns)))
    row_areas = np.stack([track.mask_areas for track in rows])  # [R, T]
    column_areas = np.stack([track.mask_areas for track in columns])  # [C, T]
    total = row_areas.sum(1)[:, None] + column_areas.sum(1)[None, :]  # [R, C]
    possible = np.minimum(row_areas[:, None], column_areas[None]).sum(2)  # no more than the smaller mask is shared
    wanted = (possible > 0) & (possible >= at_least * (total - possible))
    shared = np.zeros_like(total)
    kept_rows, kept_columns = np.flatnonzero(wanted.any(1)), np.flatnonzero(wanted.any(0))
    if len(kept_rows):
        block = np.ix_(kept_rows, kept_columns)
        shared[block], lost = _shared_pixels(
            [rows[r].segmentations for r in kept_rows.tolist()],
            [columns[c].segmentations for c in kept_columns.tolist()],
            row_areas[kept_rows],
            column_areas[kept_columns],
        )
        total[block] -= lost
    union = total - shared
    return np.where(wanted & (union > 0), shared / np.maximum(union, 1), 0.0)


def _shared_pixels(
    rows: list[list[Rle | None]], columns: list[list[Rle | None]], row_areas: Pixels, column_areas: Pixels
) -> tuple[Pixels, Pixels]:
    """Pixels common to each pair [R, C], and pixels of frames that do not count because the sizes differ [R, C]."""
    shared = np.zeros((len(rows), len(columns)), dtype=np.int64)
    lost = np.zeros_like(shared)
    for frame in np.flatnonzero(row_areas.any(0) & column_areas.any(0)).tolist():
        present_rows = np.flatnonzero(row_areas[:, frame])
        present_columns = np.flatnonzero(column_areas[:, frame])
        row_masks = [rows[r][frame] for r in present_rows.tolist()]
        column_masks = [columns[c][frame] for c in present_columns.tolist()]
        both = row_areas[present_rows, frame][:, None] + column_areas[present_columns, frame][None, :]
        iou = np.asarray(coco_mask.iou(cast(Any, row_masks), cast(Any, column_masks), [0] * len(column_masks)))
        # areas and IoU give the shared pixels: i = (a + b) iou / (1 + iou), a whole number but for rounding
        found = np.rint(both * (iou / (1 + iou))).astype(np.int64)
        block = np.ix_(present_rows, present_columns)
        differs = _sizes_differ(row_masks, column_masks)
        if differs is not None:
            lost[block] += np.where(differs, both, 0)
            found[differs] = 0
        shared[block] += found
    return shared, lost


def _sizes_differ(rows: list[Rle | None], columns: list[Rle | None]) -> npt.NDArray[np.bool_] | None:
    """Which pairs have masks of different sizes [R, C]; None if no pair has."""
    row_sizes = [mask["size"] for mask in rows if mask is not None]
    column_sizes = [mask["size"] for mask in columns if mask is not None]
    first = row_sizes[0]
    if all(size == first for size in row_sizes) and all(size == first for size in column_sizes):
        return None
    return np.array([[a != b for b in column_sizes] for a in row_sizes])
