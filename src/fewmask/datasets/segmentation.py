"""COCO segmentations (polygons, uncompressed and compressed RLE) checked and turned into masks.

The C coder of pycocotools trusts what it is given: a cut RLE string makes it read beyond the string and a huge
polygon makes it allocate without bound. So everything is checked here first, and compressed strings in bulk.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewmask.datasets.json_file import all_numbers
from fewmask.datasets.run_lengths import measure_runs
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.rle import Rle

_CHUNK_CHARACTERS = 1 << 22
_MAX_POLYGON_STEPS = 1 << 26  # the coder allocates this many points for an outline; a real one has thousands


def check_form(segmentation: Any, height: int, width: int, where: str) -> None:
    """Check everything about one segmentation but the content of a compressed string (see `check_counts`).

    Raises:
        DatasetError: not a polygon list or RLE, a polygon too short or not of numbers, or another size than the image.
    """
    if isinstance(segmentation, list):
        _check_polygons(segmentation, height, width, where)
    elif isinstance(segmentation, dict):
        _check_rle_form(segmentation, height, width, where)
    else:
        raise DatasetError(f"{where}: 'segmentation' must be a list of polygons or an RLE object")


def to_rle(segmentation: Any, height: int, width: int, where: str) -> Rle:
    """One segmentation that passed `check_form` (and, if compressed, `check_counts`) as RLE.

    Raises:
        DatasetError: an outline too long to rasterise.
    """
    if isinstance(segmentation, list):
        for index, polygon in enumerate(segmentation):
            if _outline_steps(polygon) > _MAX_POLYGON_STEPS:
                raise DatasetError(f"{where}: polygon {index} has an outline too long for an image of {height}x{width}")
        return rle.from_polygons(segmentation, height, width)
    if isinstance(segmentation["counts"], list):
        return rle.from_counts(segmentation["counts"], height, width)
    return {"size": [height, width], "counts": segmentation["counts"]}


def checked_rle(segmentation: Any, height: int, width: int, where: str) -> Rle:
    """One segmentation of any form, fully checked, as RLE.

    Raises:
        DatasetError: malformed, or of another size than ``height`` x ``width``.
    """
    check_form(segmentation, height, width, where)
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        check_counts([segmentation["counts"]], [height * width], [where])
    return to_rle(segmentation, height, width, where)


def check_counts(counts: Sequence[str], areas: Sequence[int], where: Sequence[str]) -> None:
    """Check compressed RLE strings in bulk.

    Args:
        counts: compressed run lengths.
        areas: height x width that the runs of each must cover.
        where: the place of each, for the message.

    Raises:
        DatasetError: the first string that is malformed or covers another number of pixels.
    """
    start = 0
    while start < len(counts):
        end, characters = start, 0
        while end < len(counts) and (end == start or characters + len(counts[end]) <= _CHUNK_CHARACTERS):
            characters += len(counts[end])
            end += 1
        covered, _ = measure_runs(counts[start:end])
        wrong = np.flatnonzero(covered != np.asarray(areas[start:end]))
        if len(wrong):
            first = start + int(wrong[0])
            raise DatasetError(
                f"{where[first]}: bad RLE, the compressed 'counts' are malformed or do not cover "
                f"{areas[first]} pixels; export the mask again"
            )
        start = end


def _check_polygons(polygons: list[Any], height: int, width: int, where: str) -> None:
    if not polygons:
        raise DatasetError(f"{where}: 'segmentation' is an empty list; a box without a mask is not enough")
    limit = 10.0 * max(height, width)
    for index, polygon in enumerate(polygons):
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise DatasetError(f"{where}: polygon {index} must be [x0, y0, x1, y1, x2, y2, ...] with 3 points or more")
        if not all_numbers(polygon):
            raise DatasetError(f"{where}: polygon {index} holds something that is not a finite number")
        if max(polygon) > limit or min(polygon) < -limit:
            raise DatasetError(f"{where}: polygon {index} lies far outside the image of {height}x{width}")


def _check_rle_form(segmentation: dict[str, Any], height: int, width: int, where: str) -> None:
    for key in ("size", "counts"):
        if key not in segmentation:
            raise DatasetError(f"{where}: RLE key {key!r} is missing")
    size, counts = segmentation["size"], segmentation["counts"]
    if not isinstance(size, list) or len(size) != 2 or not all_numbers(size):
        raise DatasetError(f"{where}: RLE 'size' must be [height, width]")
    if size != [height, width]:
        raise DatasetError(f"{where}: RLE size is {size[0]}x{size[1]}, the image has {height}x{width} (height x width)")
    if isinstance(counts, list):
        if set(map(type, counts)) - {int} or any(run < 0 for run in counts) or sum(counts) != height * width:
            raise DatasetError(f"{where}: bad RLE, 'counts' must be whole numbers that cover {height * width} pixels")
    elif not isinstance(counts, str):
        raise DatasetError(f"{where}: RLE 'counts' must be a string or a list of run lengths")


def _outline_steps(polygon: list[float]) -> float:
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    return float(5 * np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
