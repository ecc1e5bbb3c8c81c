"""What witnesses say, and what follows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewmask.pipelines.grow.agreement import Evidence, judge
from fewmask.pipelines.grow.find import FoundTrack

SHARES = st.floats(0, 1, allow_nan=False)


def _track(inside=(90,), pixels=100, foreground=0.9, steady=0.9, score=0.8):
    track = FoundTrack(1, inside=list(inside), pixels=pixels, foreground=[foreground], steady=[steady])
    track.scores[0] = score
    return track


def _axis(place, dimension=8):
    vector = np.zeros(dimension, np.float32)
    vector[place] = 1
    return vector


@given(SHARES, SHARES, SHARES, SHARES, SHARES)
def test_confidence_is_between_the_witnesses(look, inside, foreground, steady, score):
    evidence = Evidence(look, inside, foreground, steady, score)
    values = [max(1e-3, value) for value in (look, inside, foreground, steady, score)]
    assert min(values) - 1e-3 <= evidence.confidence <= max(values) + 1e-3


def test_one_no_is_enough():
    sure = Evidence(0.95, 0.95, 0.95, 0.95, 0.95)
    assert sure.confidence > 0.9
    for name in ("look", "inside", "foreground"):
        assert Evidence(**{**vars(sure), name: 0.0}).confidence < 0.5, name


def test_a_track_that_looks_like_the_kind_is_kept():
    verdict = judge(_track(), _axis(0), [_axis(0)[None]], _axis(1)[None])
    assert (verdict.kind, verdict.decision) == (0, "kept")
    assert verdict.evidence.inside == pytest.approx(0.9)


def test_a_track_that_looks_like_something_else_is_not():
    verdict = judge(_track(), _axis(1), [_axis(0)[None]], _axis(1)[None])
    assert verdict.decision == "other"


def test_a_track_outside_the_class_mask_is_not_kept():
    verdict = judge(_track(inside=(3,)), _axis(0), [_axis(0)[None]], _axis(1)[None])
    assert verdict.decision != "kept"


def test_kinds_are_rivals():
    kinds = [_axis(0)[None], _axis(1)[None]]
    verdict = judge(_track(inside=(80, 90)), _axis(1), kinds, np.zeros((0, 8), np.float32))
    assert verdict.kind == 1
    both = (_axis(0) + _axis(1)) / np.sqrt(2)
    torn = judge(_track(inside=(80, 90)), both.astype(np.float32), kinds, np.zeros((0, 8), np.float32))
    assert torn.evidence.look <= 0.5


def test_without_anything_else_likeness_itself_counts():
    verdict = judge(_track(), _axis(0), [_axis(0)[None]], np.zeros((0, 8), np.float32))
    assert verdict.decision == "kept"
    other = judge(_track(), _axis(3), [_axis(0)[None]], np.zeros((0, 8), np.float32))
    assert other.decision != "kept"
