"""COCO segmentations (polygons, uncompressed and compressed RLE) checked and turned into masks.

The C coder of pycocotools trusts what it is given: a cut RLE string makes it read beyond the string and a huge
polygon makes it allocate without bound. So everything is checked here first, and compressed strings in bulk.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.datasets.json_file import all_numbers
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.rle import Rle

_CHUNK_CHARACTERS = 1 << 22
_MAX_DIGITS = 7  # 5 bits each: enough for any run in an image of MAX_SIDE x MAX_SIDE
_MAX_POLYGON_STEPS = 1 << 26  # the coder allocates this many points for an outline; a real one has thousands


def check_form(segmentation: Any, height: int, width: int, where: str) -> None:
    """Check everything about one segmentation but the content of a compressed string (see `bad_counts`).

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
    """One segmentation that passed `check_form` (and, if compressed, `bad_counts`) as RLE.

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
    index = bad_counts(counts, areas)
    if index is not None:
        raise DatasetError(
            f"{where[index]}: bad RLE, the compressed 'counts' are malformed or do not cover "
            f"{areas[index]} pixels; export the mask again"
        )


def bad_counts(counts: Sequence[str], areas: Sequence[int]) -> int | None:
    """Index of a compressed RLE string that is malformed or does not cover its area; None if all are good."""
    start = 0
    while start < len(counts):
        end, characters = start, 0
        while end < len(counts) and (end == start or characters + len(counts[end]) <= _CHUNK_CHARACTERS):
            characters += len(counts[end])
            end += 1
        bad = _bad_in_chunk(counts[start:end], np.asarray(areas[start:end], dtype=np.int64))
        if bad is not None:
            return start + bad
        start = end
    return None


def _bad_in_chunk(counts: Sequence[str], areas: npt.NDArray[np.int64]) -> int | None:
    lengths = np.fromiter(map(len, counts), dtype=np.int64, count=len(counts))
    if (lengths == 0).any():
        return int(np.argmin(lengths))
    text = "".join(counts)
    if not text.isascii():
        return next(index for index, string in enumerate(counts) if not string.isascii())
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    owner = np.repeat(np.arange(len(counts)), lengths)  # [characters] the string of each
    bad = (codes < 48) | (codes > 111)
    if bad.any():
        return int(owner[np.argmax(bad)])
    digits = codes - 48
    number_ends = np.flatnonzero((digits & 0x20) == 0)
    last = np.cumsum(lengths) - 1
    cut = (digits[last] & 0x20) != 0
    if cut.any():
        return int(np.argmax(cut))
    number_starts = np.concatenate(([0], number_ends[:-1] + 1))
    width = number_ends - number_starts + 1
    number_owner = owner[number_starts]
    if (width > _MAX_DIGITS).any():
        return int(number_owner[np.argmax(width > _MAX_DIGITS)])
    heads = np.flatnonzero(np.concatenate(([True], number_owner[1:] != number_owner[:-1])))
    first = heads[number_owner]
    runs = _runs(_numbers(digits, number_starts, number_ends, width), first, np.arange(len(first)) - first)
    wrong = np.add.reduceat(runs, heads) != areas
    wrong[number_owner[runs < 0]] = True
    return int(np.argmax(wrong)) if wrong.any() else None


def _numbers(
    digits: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    width: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Little-endian 5-bit groups with sign extension, as int64."""
    values = np.zeros(len(starts), dtype=np.int64)
    for place in range(int(width.max())):
        has = width > place
        values[has] |= (digits[starts[has] + place] & 0x1F).astype(np.int64) << (5 * place)
    negative = (digits[ends] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * width[negative])
    return values


def _runs(
    deltas: npt.NDArray[np.int64], first: npt.NDArray[np.int64], position: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Undo the coder's difference: from the fourth number on, each is added to the one two before it.

    ``first`` [numbers] is where the number's string begins, ``position`` [numbers] its place in that string.
    """
    runs = deltas.copy()
    for chain in (position % 2 == 1, (position % 2 == 0) & (position > 0)):
        summed = np.cumsum(np.where(chain, deltas, 0))
        runs[chain] = (summed - summed[first])[chain]  # a string's first number is in neither chain
    return runs


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
