"""What tracks look like: cosines of pictures and likeness of beliefs, weighed as the docstring says."""

import numpy as np
import pytest
import torch

from fewmask.media import rle
from fewmask.minvis.segmenter import SegmenterOutput
from fewmask.pipelines.grow.find import _same_shape
from fewmask.pipelines.grow.track_looks import SeenObject, TrackLooks

SIZE = (32, 48)
BOX = np.zeros(SIZE, bool)
BOX[8:24, 10:30] = True


class MeanColour:
    """A clip's mean colour, as a unit vector."""

    name = "colour"
    dimension = 3

    def embed(self, clips):
        means = clips.reshape(len(clips), -1, 3).mean(1).astype(np.float32) + 1
        return means / np.linalg.norm(means, axis=1, keepdims=True)


class OneObject:
    """Sees the box, and believes of it what it was told."""

    short_side = None
    num_classes = 2

    def __init__(self, belief=(0.75, 0.25)):
        self.logits = torch.tensor([[belief]]).log()

    def __call__(self, frames, *, short_side=None, max_size=None):
        masks = torch.zeros(1, 1, *frames.shape[1:3])
        masks[0, 0] = -9
        masks[0, 0, 8:24, 10:30] = 9
        size = tuple(frames.shape[1:3])
        return SegmenterOutput(
            torch.tensor([[[2.0, 0, 0]]]), masks, torch.zeros(1, 1, 4), size, size, name_logits=self.logits
        )

    def reset(self):
        """Nothing to forget."""


def seen(colour, belief):
    picture = np.empty((16, 16, 3), np.uint8)
    picture[:] = colour
    return SeenObject(picture, None if belief is None else np.array(belief))


def test_the_cosine_is_half_belief_and_half_pictures():
    looks = TrackLooks([MeanColour()], OneObject())
    assert looks.dimension == 5
    red, green = (200, 0, 0), (0, 200, 0)
    first, second = looks.embed([[seen(red, (0.75, 0.25))], [seen(green, (0.1, 0.9))]])
    colours = MeanColour().embed(np.array([[[[red]]], [[[green]]]], np.uint8))
    expected = 0.5 * (np.sqrt(0.75 * 0.1) + np.sqrt(0.25 * 0.9)) + 0.5 * float(colours[0] @ colours[1])
    assert float(first @ second) == pytest.approx(expected, abs=1e-5)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)


def test_beliefs_of_a_track_are_taken_together_and_what_was_not_seen_left_out():
    looks = TrackLooks([MeanColour()], OneObject())
    both = looks.embed([[seen((9, 9, 9), (0.8, 0.2)), seen((9, 9, 9), None), seen((9, 9, 9), (0.4, 0.6))]])
    assert np.allclose(both[0, :2], np.sqrt(0.5) * np.sqrt([0.6, 0.4]), atol=1e-6)
    unseen = looks.embed([[seen((9, 9, 9), None)]])
    assert np.allclose(unseen[0, :2], 0)


def test_objects_of_a_frame_have_picture_and_belief():
    looks = TrackLooks([MeanColour()], OneObject())
    rgb = np.full((*SIZE, 3), 50, np.uint8)
    rgb[BOX] = (250, 10, 10)
    elsewhere = np.zeros(SIZE, bool)
    elsewhere[26:, :8] = True
    inside, outside = looks.objects(rgb, [rle.encode(BOX), rle.encode(elsewhere)])
    assert np.allclose(inside.belief, (0.75, 0.25), atol=1e-5)
    assert inside.picture[80, 80, 0] > 200
    assert outside.belief is None


def test_a_segmenter_of_one_class_adds_nothing():
    class OneClass(OneObject):
        def __init__(self):
            super().__init__((1.0,))

    looks = TrackLooks([MeanColour()], OneClass())
    assert looks.dimension == 3
    assert looks.objects(np.zeros((*SIZE, 3), np.uint8), [rle.encode(BOX)])[0].belief is None
    assert looks.name == "colour"


def test_moving_is_no_change_of_shape():
    moved = np.roll(BOX, (5, -7), axis=(0, 1))
    assert _same_shape(BOX, moved) == 1.0
    flat = np.zeros(SIZE, bool)
    flat[14:18, 10:30] = True
    assert _same_shape(BOX, flat) == pytest.approx(0.25, abs=0.02)
    assert _same_shape(BOX, np.zeros(SIZE, bool)) == 0.0
