"""Tracks as polygons: close to their masks, few points, few key frames where the shape changes evenly."""

from itertools import pairwise

import numpy as np

from fewmask.exports.polygon_track import polygon_track
from fewmask.exports.polygons import mask_polygon, overlap, simple_polygon
from fewmask.media import rle


def ellipse(t, *, height=240, width=320, wobble=0.0):
    rows, columns = np.mgrid[:height, :width]
    x, y = 60 + 4 * t, 100 + t
    return rle.encode(((columns - x) / (40 + wobble * t)) ** 2 + ((rows - y) / 25) ** 2 <= 1)


def check(masks, shapes, min_iou=0.97):
    for shape in shapes:
        if not shape.outside:
            assert overlap(shape.points, masks[shape.frame]) >= (0.97 if shape.keyframe else min_iou)


def test_an_even_movement_needs_few_key_frames_and_few_points():
    masks = [ellipse(t, wobble=0.3) for t in range(33)]
    shapes = polygon_track(masks)
    check(masks, shapes)
    keys = [shape for shape in shapes if shape.keyframe]
    assert len(shapes) == 33
    assert len(keys) <= 8
    assert max(len(shape.points) for shape in keys) <= 60
    assert len(mask_polygon(masks[0])) > 100


def test_what_stands_still_has_two_key_frames():
    masks = [ellipse(3)] * 20
    shapes = polygon_track(masks)
    check(masks, shapes)
    assert sum(shape.keyframe for shape in shapes) <= 4


def test_frames_between_are_what_a_straight_line_between_paired_points_gives():
    masks = [ellipse(t) for t in range(20)]
    shapes = polygon_track(masks)
    keys = [shape for shape in shapes if shape.keyframe]
    for first, last in pairwise(keys):
        for shape in shapes[first.frame + 1 : last.frame]:
            part = (shape.frame - first.frame) / (last.frame - first.frame)
            np.testing.assert_allclose(shape.points, first.points + (last.points - first.points) * part)


def test_a_lower_wish_gives_fewer_key_frames():
    rng = np.random.default_rng(0)

    def jittered(t):
        mask = rle.decode(ellipse(t)).copy()
        row, column = rng.integers(70, 130), 60 + 4 * t + rng.integers(-30, 30)
        mask[row : row + 12, column : column + 12] ^= True
        return rle.encode(mask)

    masks = [jittered(t) for t in range(24)]
    counts = []
    for min_iou in (0.97, 0.8):
        shapes = polygon_track(masks, min_iou)
        check(masks, shapes, min_iou)
        counts.append(sum(shape.keyframe for shape in shapes))
    assert counts[1] < counts[0]


def test_parts_holes_absence_and_single_pixels():
    empty, dot, ring = np.zeros((40, 50), bool), np.zeros((40, 50), bool), np.zeros((40, 50), bool)
    dot[3, 4] = True
    ring[10:30, 10:40] = True
    ring[14:26, 15:35] = False
    ring[35:39, 1:9] = True
    masks = [None, rle.encode(dot), rle.encode(empty), None, rle.encode(ring), rle.encode(ring)]
    shapes = polygon_track(masks)
    assert [(s.frame, s.outside, s.keyframe) for s in shapes] == [
        (1, False, True), (2, True, True), (3, True, False), (4, False, True), (5, False, True)
    ]  # fmt: skip
    check(masks, shapes)
    assert polygon_track([None, rle.encode(empty)]) == []
    assert simple_polygon(rle.encode(empty)).shape == (0, 2)
