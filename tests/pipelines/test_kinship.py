"""Kinship: beliefs over names compared, as a sum over all names says; what is not meant is refused."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from fewmask.media import rle
from fewmask.minvis.segmenter import SegmenterOutput
from fewmask.pipelines.kinship import LEAST_SURE, Kinship, beliefs_of
from fewmask.vipmt.support import SupportPicture, SupportSet

SIZE = (24, 32)
LEFT, RIGHT = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
LEFT[4:20, 2:12] = True
RIGHT[4:20, 18:30] = True
BELIEFS = st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(lambda values: np.array(values) / sum(values))


class TwoObjects:
    """Sees a dog on the left and a person on the right of any picture, with names it is more or less sure of."""

    short_side = None
    num_classes = 3

    def __init__(self, left=(0.7, 0.2, 0.1), right=(0.1, 0.1, 0.8)):
        self.names = torch.tensor([[left, right]]).log()
        self.looks = 0

    def __call__(self, frames, *, short_side=None, max_size=None):
        self.looks += len(frames)
        masks = torch.from_numpy(np.stack([LEFT, RIGHT])).float()[None] * 20 - 10
        logits = torch.tensor([[[3.0, 0, 0, 0], [0, 0, 3.0, 0]]])
        return SegmenterOutput(logits, masks, torch.zeros(1, 2, 4), SIZE, SIZE, name_logits=self.names)

    def reset(self):
        """Nothing to forget."""


def supports(mask, *, negatives=()):
    picture = SupportPicture("a", np.zeros((*SIZE, 3), np.uint8), mask)
    return SupportSet({"dog": (picture,)}, tuple(SupportPicture("n", picture.rgb, other) for other in negatives))


@given(BELIEFS, BELIEFS, BELIEFS)
def test_kinship_is_the_bhattacharyya_coefficient_of_all_frames_together(example, first, second):
    kinship = Kinship([example])
    kinship.see({5: first.astype(np.float32)})
    kinship.see({5: second.astype(np.float32)})
    brute = sum(np.sqrt(e * (a + b) / 2) for e, a, b in zip(example, first, second, strict=True))
    surest = ((first + second) / 2).max()
    assume(abs(surest - LEAST_SURE) > 1e-5)
    assert kinship.of(5) == [None if surest < LEAST_SURE else pytest.approx(brute, abs=1e-5)]
    assert kinship.of(6) == [None]


def test_a_belief_spread_over_many_names_says_nothing_but_what_it_is_not():
    spread = np.full(3, 1 / 3, np.float32)
    kinship = Kinship([np.array([0.05, 0.05, 0.9])])
    kinship.see({1: spread})
    assert kinship.of(1) == [None]
    refused = Kinship([np.array([0.05, 0.05, 0.9])], negatives=np.full(3, 1 / 3))
    refused.see({1: spread})
    assert refused.of(1) == [0.0]


def test_supports_are_believed_to_be_what_lies_in_their_masks():
    kinship = Kinship.of_supports(TwoObjects(), supports(LEFT))
    kinship.see({1: np.array([0.7, 0.2, 0.1], np.float32), 2: np.array([0.1, 0.1, 0.8], np.float32)})
    assert kinship.of(1)[0] == pytest.approx(1, abs=1e-5)
    assert kinship.of(2)[0] < 0.8


def test_a_mask_in_which_the_segmenter_sees_nothing_says_nothing():
    nothing = np.zeros(SIZE, bool)
    nothing[:3] = True
    kinship = Kinship.of_supports(TwoObjects(), supports(nothing))
    kinship.see({1: np.array([0.7, 0.2, 0.1], np.float32)})
    assert kinship.of(1) == [None]


def test_what_must_not_be_found_is_no_kin():
    kinship = Kinship.of_supports(TwoObjects(), supports(LEFT, negatives=[RIGHT]))
    kinship.see({1: np.array([0.7, 0.2, 0.1], np.float32), 2: np.array([0.1, 0.2, 0.7], np.float32)})
    assert kinship.of(1)[0] > 0.9
    assert kinship.of(2) == [0.0]


def test_a_segmenter_of_one_class_has_nothing_to_say():
    kinship = Kinship([np.array([1.0])])
    kinship.see({1: np.array([1.0], np.float32)})
    assert kinship.of(1) == [None]


def test_going_on_from_a_state_gives_the_same():
    first, second = Kinship([np.array([0.5, 0.5])]), Kinship([np.array([0.5, 0.5])])
    first.see({1: np.array([0.9, 0.1], np.float32)})
    second.restore(first.state())
    for kinship in (first, second):
        kinship.see({1: np.array([0.2, 0.8], np.float32)})
    assert first.of(1) == second.of(1)


def test_beliefs_of_masks_are_those_of_the_objects_under_them():
    segmenter = TwoObjects()
    shifted = np.roll(RIGHT, 2, axis=1)
    elsewhere = np.zeros(SIZE, bool)
    elsewhere[21:, 13:17] = True
    picture = np.zeros((*SIZE, 3), np.uint8)
    found = beliefs_of(segmenter, picture, [rle.encode(mask) for mask in (shifted, LEFT, elsewhere)])
    assert np.allclose(found[0], (0.1, 0.1, 0.8), atol=1e-5)
    assert np.allclose(found[1], (0.7, 0.2, 0.1), atol=1e-5)
    assert found[2] is None
    assert segmenter.looks == 1
