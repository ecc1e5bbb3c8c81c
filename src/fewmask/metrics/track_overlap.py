"""Spatio-temporal IoU of tracks: pixels shared over all frames, divided by pixels covered over all frames.

Area counts and run lengths are all it takes; no bitmap is made. Pairs that cannot reach the wanted IoU, because their
areas differ too much frame by frame, are never looked at.
"""

from collections.abc import Sequence
from typing import Any, Protocol

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
    frames = np.flatnonzero(row_areas.any(0) & column_areas.any(0)).tolist()
    areas, column_areas = row_areas.T[frames], column_areas.T[frames]  # [F, R], [F, C]
    ious = np.zeros((len(frames), len(rows), len(columns)))
    counts = np.ones_like(ious, dtype=bool)
    present_rows, present_columns = np.asarray(areas > 0), np.asarray(column_areas > 0)
    complete = np.asarray(present_rows.all(1) & present_columns.all(1)).tolist()
    every_row, every_column = range(len(rows)), range(len(columns))
    for index, frame in enumerate(frames):
        here = every_row if complete[index] else np.flatnonzero(present_rows[index]).tolist()
        there = every_column if complete[index] else np.flatnonzero(present_columns[index]).tolist()
        row_masks: list[Any] = [rows[r][frame] for r in here]
        column_masks: list[Any] = [columns[c][frame] for c in there]
        found = coco_mask.iou(row_masks, column_masks, [0] * len(column_masks))
        block = index if complete[index] else np.ix_([index], here, there)
        ious[block] = found
        size = row_masks[0]["size"]
        if [mask for mask in row_masks + column_masks if mask["size"] != size]:
            counts[np.ix_([index], here, there)] = [[a["size"] == b["size"] for b in column_masks] for a in row_masks]
    both = areas[:, :, None] + column_areas[:, None, :]
    # areas and IoU give the shared pixels: i = (a + b) iou / (1 + iou), a whole number but for rounding
    ious[~counts] = 0
    shared = np.rint(both * (ious / (1 + ious))).astype(np.int64).sum(0)
    return shared, np.where(counts, 0, both).sum(0)
