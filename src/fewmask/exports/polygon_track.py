"""A track of masks as polygons on few key frames, with the frames between left to interpolation.

CVAT pairs the points of two key frames by their share of the outline's length and moves each along a straight line.
Its pairing is only one to one where both polygons have equally many points at nearly equal shares. So a stretch of
frames is interpolated only between polygons made so, and only if every polygon between, as it comes out of that, still
has the wanted IoU with its own mask. All other frames are key frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewmask.exports.polygons import MIN_IOU, Polygon, outline, overlap, simple_polygon
from fewmask.media import rle
from fewmask.media.rle import Rle

_LONGEST = 32  # frames from one key frame to the next
_STARTS = 64  # places on the outline that are tried as the first point
_ROUNDS = 8  # until the shares of a polygon agree with those of the key frame
_POINTS = 40  # of a polygon that moves: none of its edges is longer than this part of the outline


@dataclass(frozen=True, slots=True, eq=False)
class PolygonShape:
    """A track in one frame; ``points`` [N, 2] are pixels, x and y; ``outside`` = absent from here on."""

    frame: int
    points: Polygon
    keyframe: bool = True
    outside: bool = False


def polygon_track(masks: Sequence[Rle | None], min_iou: float = MIN_IOU) -> list[PolygonShape]:
    """One shape per frame from the first mask on; empty when there is none.

    Key frames have at least `fewmask.exports.polygons.MIN_IOU` with their masks, the frames between ``min_iou``; lower
    gives fewer key frames, which are quicker to correct. Where the track is absent, a shape marked ``outside`` has the
    box of the last polygon; the first of a run of them is a key frame.
    """
    shapes: list[PolygonShape] = []
    frame = 0
    while frame < len(masks):
        stretch = _presence(masks, frame)
        if stretch:
            shapes += _present(masks[frame : frame + stretch], frame, min_iou)
            frame += stretch
            continue
        if shapes:
            last = shapes[-1]
            box = last.points if last.outside else _box(last.points)
            shapes.append(PolygonShape(frame, box, keyframe=not last.outside, outside=True))
        frame += 1
    return shapes


def _presence(masks: Sequence[Rle | None], start: int) -> int:
    """For how many frames from ``start`` on there is something."""
    end = start
    while end < len(masks) and (mask := masks[end]) is not None and rle.area(mask):
        end += 1
    return end - start


def _present(masks: Sequence[Rle | None], start: int, min_iou: float) -> list[PolygonShape]:
    """The shapes of frames that all have a mask, the first of which is frame ``start``."""
    there = [mask for mask in masks if mask is not None]
    key = simple_polygon(there[0])
    shapes = [PolygonShape(start, key)]
    at, own = 0, True  # own: nothing is interpolated towards the key, so that it may get more points
    while at < len(there) - 1:
        # Stretches grow while they hold: 2, 3, 5, 9, ... frames on.
        best: list[Polygon] = []
        ahead = 2
        while ahead <= _LONGEST and at + ahead < len(there):
            first = _denser(key) if own else key
            between = _interpolated(first, there[at + 1 : at + ahead + 1], min_iou)
            if not between:
                break
            best, ahead = between, 2 * ahead - 1
            shapes[-1] = PolygonShape(start + at, first)
        polygons = best or [simple_polygon(there[at + 1])]
        for number, polygon in enumerate(polygons, start=1):
            shapes.append(PolygonShape(start + at + number, polygon, keyframe=number == len(polygons)))
        at += len(polygons)
        key, own = polygons[-1], not best
    return shapes


def _interpolated(key: Polygon, masks: Sequence[Rle], min_iou: float) -> list[Polygon]:
    """The polygons of the frames after a key frame, the last being the next one; empty if one is not good enough."""
    last = _moved(key, masks[-1])
    if last is None or overlap(last, masks[-1]) < MIN_IOU:
        return []
    polygons = []
    for number, mask in enumerate(masks[:-1], start=1):
        polygon = key + (last - key) * (number / len(masks))
        if overlap(polygon, mask) < min_iou:
            return []
        polygons.append(polygon)
    return [*polygons, last]


def _moved(key: Polygon, mask: Rle) -> Polygon | None:
    """The outline of ``mask`` with as many points as ``key``, at the same shares of its length.

    None if it has parts or holes, or the points would not be paired one to one.
    """
    loop = outline(mask)
    if loop is None:
        return None
    shares = _shares(key)[:-1]
    candidates = _at_shares(loop, (np.arange(_STARTS)[:, None] / _STARTS + shares) % 1)  # [S, N, 2]
    away = candidates - candidates.mean(1, keepdims=True) - (key - key.mean(0))
    start = int(np.argmin((away**2).sum((1, 2)))) / _STARTS
    # Between two points a polygon is shorter than the outline, most where it is curved: until its own shares agree.
    places, moved = shares, key
    for _ in range(_ROUNDS):
        moved = _at_shares(loop, (start + places) % 1)
        places = places + shares - _shares(moved)[:-1]
    distance = np.abs(_shares(moved)[:, None] - _shares(key)[None, :])
    one_to_one = np.arange(len(key) + 1)
    if not (np.array_equal(distance.argmin(0), one_to_one) and np.array_equal(distance.argmin(1), one_to_one)):
        return None
    return moved


def _denser(polygon: Polygon) -> Polygon:
    """The same outline with points along its long edges, so that it can bend elsewhere."""
    ends = _shares(polygon)
    parts = np.maximum(1, np.ceil(np.diff(ends) * _POINTS)).astype(int)
    places = [low + (high - low) * np.arange(n) / n for low, high, n in zip(ends, ends[1:], parts, strict=False)]
    return _at_shares(polygon, np.concatenate(places))


def _shares(polygon: Polygon) -> Polygon:
    """[N + 1]: the share of the outline's length before each point, 1 at the first point's return."""
    lengths = np.hypot(*np.diff(polygon, axis=0, append=polygon[:1]).T)
    total = lengths.sum()
    shares: Polygon = np.concatenate(([0.0], lengths.cumsum() / total if total else lengths))
    return shares


def _at_shares(loop: Polygon, shares: Polygon) -> Polygon:
    """The points [..., 2] of a closed outline at these shares [...] of its length."""
    closed = np.concatenate((loop, loop[:1]))
    return np.stack([np.interp(shares, _shares(loop), closed[:, axis]) for axis in (0, 1)], axis=-1)


def _box(points: Polygon) -> Polygon:
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
