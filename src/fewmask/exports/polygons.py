"""A mask as one polygon with few points, close enough to be corrected by hand."""

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.media import rle
from fewmask.media.outline import Place, Point, one_polygon, outline_loops
from fewmask.media.rle import Rle

MIN_IOU = 0.97
"""Of a polygon with its mask; higher gives more points."""
_SIMPLER = ((0.75, 0.7), (0.75, 0.3), (0.5, 0.3), (0.25, 0.0))
"""Tried in order: pixels that may be cut off the outline besides its steps, and which part of what `MIN_IOU` allows the
parts and holes may be that are left out."""

Polygon = npt.NDArray[np.float64]
"""Points [N, 2] as x, y in pixel-edge coordinates: x in 0..W, y in 0..H; closed, the first point is not repeated."""


def mask_polygon(mask: Rle) -> list[Place]:
    """The exact polygon of a mask along its pixel edges; empty for an empty mask."""
    return one_polygon(_loops(mask))


def simple_polygon(mask: Rle) -> Polygon:
    """The mask to within a pixel: its outline simplified, parts and holes left out that hardly count.

    IoU with the mask is at least `MIN_IOU`; where a simpler polygon does not reach that, it is the exact one. [0, 2]
    for an empty mask.
    """
    loops = _loops(mask)
    if not loops:
        return np.zeros((0, 2))
    exact = np.array(one_polygon(loops), dtype=np.float64)
    for tolerance, left_out in _SIMPLER:
        parts = [_simplified(loop, tolerance) for loop in _that_count(loops, left_out)]
        polygon = np.array(one_polygon(parts), dtype=np.float64)
        if len(polygon) >= 3 and overlap(polygon, mask) >= MIN_IOU:
            return polygon if len(polygon) < len(exact) else exact
    return exact


def overlap(polygon: Polygon, mask: Rle) -> float:
    """IoU of a polygon, filled as COCO fills it, and a mask."""
    height, width = mask["size"]
    return float(rle.iou_matrix([rle.from_polygons([polygon.ravel().tolist()], height, width)], [mask])[0, 0])


def outline(mask: Rle) -> Polygon | None:
    """The outline of a mask that is one part without holes, but for what hardly counts; None for others."""
    loops = _that_count(_loops(mask), _SIMPLER[0][1])
    return _without_steps(loops[0]) if len(loops) == 1 else None


def _loops(mask: Rle) -> list[list[Point]]:
    left, top, width, height = (int(value) for value in rle.bbox(mask))
    if width == 0 or height == 0:
        return []
    crop = rle.decode(mask)[top : top + height, left : left + width]
    return [[(x + left, y + top) for x, y in loop] for loop in outline_loops(crop)]


def _that_count(loops: list[list[Point]], left_out: float) -> list[list[Point]]:
    """Parts and holes, largest first, without the smallest that together are ``left_out`` of what `MIN_IOU` allows."""
    areas = [abs(_signed_area(loop)) for loop in loops]
    order = sorted(range(len(loops)), key=lambda number: -areas[number])
    allowed = (1 - MIN_IOU) * left_out * abs(sum(_signed_area(loop) for loop in loops))
    while len(order) > 1 and areas[order[-1]] <= allowed:
        allowed -= areas[order.pop()]
    return [loops[number] for number in order]


def _signed_area(loop: list[Point]) -> float:
    x, y = np.array(loop, dtype=np.float64).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _simplified(loop: list[Point], tolerance: float) -> list[Place]:
    points = cv2.approxPolyDP(_without_steps(loop).astype(np.float32), tolerance, closed=True)[:, 0]
    return [(float(x), float(y)) for x, y in points] if len(points) >= 3 else [*loop]


def _without_steps(loop: list[Point]) -> Polygon:
    """Every corner cut by half a pixel: the stairs of a slanting edge become straight."""
    corners = np.array(loop, dtype=np.float64)
    cuts = [
        corners + 0.5 * np.sign(np.roll(corners, by, axis=0) - corners) for by in (1, -1)
    ]  # towards the corner before, and after
    points: Polygon = np.stack(cuts, axis=1).reshape(-1, 2)
    return points[np.any(points != np.roll(points, 1, axis=0), axis=1)]
