import cv2
import numpy as np
import pytest

from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.hidden_tracks import TrackClutter
from fewmask.media.overlay import draw
from fewmask.media.overlay_labels import Box, Label, _patch, _place, draw_labels
from fewmask.media.results import FrameResult
from fewmask.media.track_colors import track_color


def disc(height, width, row, column, radius):
    rows, columns = np.mgrid[:height, :width]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def result_of(*masks, scores=None, categories=None):
    count = len(masks)
    return FrameResult(
        0,
        masks[0].shape,
        tuple(range(1, count + 1)),
        categories or (1,) * count,
        scores or (0.5,) * count,
        tuple(rle.encode(mask) for mask in masks),
    )


def test_fill_outline_and_the_rest():
    mask = disc(120, 160, 60, 80, 30)
    frame = np.full((120, 160, 3), 100, np.uint8)
    before = frame.copy()
    drawn = draw(frame, result_of(mask), {1: "x"}, opacity=0.5, labels=False)
    assert np.array_equal(frame, before)
    assert drawn.dtype == np.uint8
    color = np.array(track_color(1))
    inside = cv2.erode(mask.astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert np.abs(drawn[inside].astype(int) - (color + 100) / 2).max() <= 1
    outside = ~cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert np.array_equal(drawn[outside], frame[outside])
    border = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3))).astype(bool)
    assert np.array_equal(drawn[border], np.broadcast_to(color, drawn[border].shape))


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_outline_differs_from_any_background(shade):
    mask = disc(120, 160, 60, 80, 30)
    drawn = draw(np.full((120, 160, 3), shade, np.uint8), result_of(mask), {1: "x"}, labels=False).astype(int)
    line = drawn[60, 45:60]
    assert np.abs(np.diff(line, axis=0)).max() > 60


def test_colors_are_fixed_and_apart():
    assert [track_color(i) for i in range(200)] == [track_color(i) for i in range(200)]
    assert len({track_color(i) for i in range(1, 61)}) == 60
    rgb = np.array([[track_color(i) for i in range(1, 61)]], np.float32) / 255
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[0]  # a distance of 2 can be seen side by side
    assert min(np.linalg.norm(lab[i] - lab[j]) for i in range(60) for j in range(i)) > 15
    assert min(np.linalg.norm(lab[i] - lab[j]) for i in range(60) for j in range(max(0, i - 9), i)) > 25


def test_label_names_the_class_but_not_that_objects_are_objects_and_the_score_on_request():
    mask = disc(200, 300, 100, 100, 30)
    frame = np.zeros((200, 300, 3), np.uint8)

    def changed(names, **options):
        without = draw(frame, result_of(mask), names, labels=False)
        return int((draw(frame, result_of(mask), names, **options) != without).any(-1).sum())

    plain = changed({1: "object"})
    assert changed({1: "object", 2: "b"}) > 1.5 * plain > 0
    assert changed({1: "a long name"}) > 1.5 * plain
    assert changed({1: "object"}, scores=True) > 1.2 * plain


def test_labels_lie_apart_while_there_is_room():
    taken, boxes = [], [Box(100 + 3 * i, 80 + 2 * i, 40, 30) for i in range(8)]
    for box in boxes:
        taken.append(_place((20, 60), box, (240, 320), taken, boxes))
    assert all(a.overlap(b) == 0 for i, a in enumerate(taken) for b in taken[:i])
    assert all(0 <= b.left <= 320 - b.width and 0 <= b.top <= 240 - b.height for b in taken)


@pytest.mark.parametrize(("height", "width"), [(9, 7), (240, 426), (2160, 3840)])
def test_labels_are_readable_at_any_size_and_fit(height, width):
    canvas = np.zeros((height, width, 3), np.uint8)
    draw_labels(canvas, [Label("#12 Käfer", (255, 200, 0), Box(0, 0, width, height))])
    rows = int(np.any(canvas, axis=(1, 2)).sum())
    assert rows >= min(height, 12)
    assert rows <= max(24, height / 20)


def test_every_letter_of_a_name_is_there():
    assert _patch("#1 Käfer", 20, (255, 0, 0)).shape[1] > _patch("#1 K", 20, (255, 0, 0)).shape[1] + 30
    assert not np.array_equal(_patch("ä", 20, (255, 0, 0)), _patch("a", 20, (255, 0, 0)))


def test_clutter_is_what_lies_in_a_better_track_or_is_tiny():
    person, part, half = disc(100, 100, 50, 50, 40), disc(100, 100, 50, 50, 10), disc(100, 100, 50, 80, 20)
    dot = np.zeros((100, 100), bool)
    dot[0, :5] = True
    clutter = TrackClutter()
    for _ in range(3):
        clutter.add(result_of(person, part, half, dot))
    assert clutter.hidden([1, 2, 3, 4]) == ({2}, {4})
    assert clutter.hidden([2, 1, 3, 4]) == (set(), {4})  # what contains a better track is not inside it
    assert str(clutter.hidden([1, 2, 3, 4])) == "2 tracks (1 inside a better one, 1 tiny)"
    shown_late = TrackClutter()
    shown_late.add(result_of(person, part))
    for _ in range(9):
        shown_late.add(result_of(disc(100, 100, 5, 5, 4), part))
    assert shown_late.hidden([1, 2]).ids == set()  # once inside, and by itself nine times


def test_small_masks_lie_on_top_of_large_ones():
    large, small = disc(120, 160, 60, 80, 50), disc(120, 160, 60, 80, 12)
    frame = np.zeros((120, 160, 3), np.uint8)
    drawn = draw(frame, result_of(small, large), {1: "x"}, opacity=1.0, labels=False)
    assert drawn[60, 80].tolist() == list(track_color(1))
    assert drawn[60, 50].tolist() == list(track_color(2))


def test_absent_empty_and_border_masks():
    frame = np.full((9, 7, 3), 50, np.uint8)
    full = np.ones((9, 7), bool)
    result = FrameResult(0, (9, 7), (1, 2, 3), (1, 1, 1), (0.1, 0.2, 0.3), (None, rle.empty(9, 7), rle.encode(full)))
    assert draw(frame, result, {1: "x"}).shape == (9, 7, 3)
    nothing = FrameResult(0, (9, 7), (), (), (), ())
    assert np.array_equal(draw(frame, nothing, {}), frame)


def test_size_must_agree():
    with pytest.raises(DatasetError, match="frame 0: the picture is 4x4, the result 9x7"):
        draw(np.zeros((4, 4, 3), np.uint8), FrameResult(0, (9, 7), (), (), (), ()), {})
