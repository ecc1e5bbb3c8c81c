import cv2
import numpy as np
import pytest

from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.overlay import draw, track_color
from fewmask.media.results import FrameResult


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
    assert len({track_color(i) for i in range(60)}) == 60
    lab = cv2.cvtColor(np.array([[track_color(i) for i in range(20)]], np.uint8), cv2.COLOR_RGB2LAB)[0].astype(int)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1000 * np.eye(20)
    assert distance.min() > 25
    assert min(np.linalg.norm(lab[i] - lab[i + 1]) for i in range(11)) > 60


def test_label_names_the_class_only_when_there_are_several():
    mask = disc(200, 300, 100, 100, 30)
    frame = np.zeros((200, 300, 3), np.uint8)
    changed = [
        int((draw(frame, result_of(mask), names) != draw(frame, result_of(mask), names, labels=False)).any(-1).sum())
        for names in ({1: "a very long name"}, {1: "a very long name", 2: "b"})
    ]
    assert changed[1] > 1.5 * changed[0] > 0


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
