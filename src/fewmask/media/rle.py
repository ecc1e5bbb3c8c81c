"""COCO run-length masks: the one currency for masks between rooms, files and metrics.

A mask is ``{"size": [H, W], "counts": str}``, column-major and LZW-like compressed as pycocotools writes it.
Bitmaps live only inside functions.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict, cast

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from fewmask.errors import DatasetError

BoolMask = npt.NDArray[np.bool_]


class Rle(TypedDict):
    """A compressed COCO run-length mask; ``size`` is [height, width]."""

    size: list[int]
    counts: str


def encode(mask: npt.NDArray[Any]) -> Rle:
    """A bitmap [H, W] (any dtype, non-zero = inside) as RLE."""
    return encode_many(mask[None])[0]


def encode_many(masks: npt.NDArray[Any]) -> list[Rle]:
    """Bitmaps [N, H, W] as N RLEs, in one call to the C coder."""
    if len(masks) == 0:
        return []
    # The coder wants column-major [H, W, N]; transposing a C-ordered [N, W, H] copy gives exactly that.
    columns = np.ascontiguousarray(masks.astype(bool, copy=False).transpose(0, 2, 1)).view(np.uint8)
    encoded = coco_mask.encode(columns.transpose(2, 1, 0))
    return [_with_text(rle) for rle in encoded]


def decode(rle: Rle) -> BoolMask:
    """RLE as a bitmap bool [H, W]."""
    return np.ascontiguousarray(coco_mask.decode(cast(Any, rle))).view(np.bool_)


def decode_many(rles: Sequence[Rle]) -> BoolMask:
    """N RLEs of one size as bool [N, H, W]; an empty list gives shape [0, 0, 0]."""
    if not rles:
        return np.zeros((0, 0, 0), dtype=bool)
    return np.ascontiguousarray(coco_mask.decode(cast(Any, list(rles))).transpose(2, 0, 1)).view(np.bool_)


def empty(height: int, width: int) -> Rle:
    """The mask of ``height`` x ``width`` pixels with nothing inside."""
    return encode(np.zeros((height, width), dtype=bool))


def area(rle: Rle) -> int:
    """Number of pixels inside."""
    return int(coco_mask.area(cast(Any, rle)))


def bbox(rle: Rle) -> tuple[float, float, float, float]:
    """Tight box (x, y, width, height) in pixels; all zero for an empty mask."""
    x, y, width, height = coco_mask.toBbox(cast(Any, rle))
    return float(x), float(y), float(width), float(height)


def union(rles: Sequence[Rle]) -> Rle:
    """Pixels inside any of the masks; all must share one size."""
    return _with_text(coco_mask.merge(cast(Any, list(rles)), intersect=False))


def intersection(rles: Sequence[Rle]) -> Rle:
    """Pixels inside all of the masks; all must share one size."""
    return _with_text(coco_mask.merge(cast(Any, list(rles)), intersect=True))


def iou_matrix(rows: Sequence[Rle], columns: Sequence[Rle]) -> npt.NDArray[np.float64]:
    """Pairwise IoU float64 [R, C]; 0 where both masks are empty."""
    if not rows or not columns:
        return np.zeros((len(rows), len(columns)))
    crowd = [0] * len(columns)
    return np.asarray(coco_mask.iou(cast(Any, list(rows)), cast(Any, list(columns)), crowd)).reshape(
        len(rows), len(columns)
    )


def shares_inside(rles: Sequence[Rle]) -> npt.NDArray[np.float64]:
    """Float64 [N, N]: which share of mask i lies in mask j; 0 for empty masks."""
    if not rles:
        return np.zeros((0, 0))
    # With the second side a "crowd", pycocotools divides by the area of the first alone.
    found = coco_mask.iou(cast(Any, list(rles)), cast(Any, list(rles)), [1] * len(rles))
    return np.nan_to_num(np.asarray(found, dtype=np.float64).reshape(len(rles), len(rles)))


def from_polygons(polygons: Iterable[Sequence[float]], height: int, width: int) -> Rle:
    """The union of polygons ``[x0, y0, x1, y1, ...]`` in pixels, rasterised as COCO does."""
    parts = coco_mask.frPyObjects([list(polygon) for polygon in polygons], height, width)
    return union([_with_text(part) for part in parts])


def from_counts(counts: Sequence[int], height: int, width: int) -> Rle:
    """Uncompressed run lengths (column-major, background first) as RLE.

    Raises:
        DatasetError: a run is negative or the runs do not cover height x width pixels exactly.
    """
    if any(run < 0 for run in counts) or sum(counts) != height * width:
        raise DatasetError(f"run lengths cover {sum(counts)} pixels, the mask has {height}x{width}")
    return _with_text(coco_mask.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width))


def _with_text(rle: Any) -> Rle:
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(rle["size"][0]), int(rle["size"][1])], "counts": text}
