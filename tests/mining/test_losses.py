"""The three losses against their definitions written out."""

import mining_recorded as recorded
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.errors import DatasetError
from fewmask.mining.background_loss import background_loss
from fewmask.mining.consistency_loss import consistency_loss, consistency_table
from fewmask.mining.flow_loss import flow_loss


def test_background_loss_of_every_recorded_candidate():
    for name, expected in recorded.EXPECTED["frames"].items():
        masks = recorded.masks(name)
        for entry in expected["top"]:
            selected = masks[entry["masks"]].any(axis=0) if entry["masks"] else np.zeros(masks.shape[1:], bool)
            assert background_loss(selected, recorded.background(name)) == pytest.approx(entry["cost"], abs=1e-9)


def test_sum_is_mean_times_pixels():
    rng = np.random.default_rng(0)
    selected, background = rng.random((5, 7)) < 0.5, rng.random((5, 7))
    assert background_loss(selected, background, "sum") == pytest.approx(35 * background_loss(selected, background))
    flow, other = rng.standard_normal((2, 5, 7, 2))
    assert flow_loss(flow, other, "sum") == pytest.approx(35 * flow_loss(flow, other))


def test_flow_loss_is_l1():
    flow = np.zeros((2, 3, 2), np.float32)
    other = flow.copy()
    other[0, 0] = (3, -1)
    assert flow_loss(flow, other, "sum") == 4
    with pytest.raises(DatasetError):
        flow_loss(flow, other[:1])


def test_recorded_consistency():
    for name, expected in recorded.EXPECTED["video_masks"].items():
        candidates = [[tuple(e["masks"]) for e in frame] for frame in expected["frame_candidates"]]
        for t in range(expected["T"] - 1):
            table = consistency_table(
                recorded.masks(name, t), candidates[t], recorded.masks(name, t + 1), candidates[t + 1]
            )
            np.testing.assert_allclose(table, recorded.ARRAYS[f"{name}.neg_iou{t}"], atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(0, 4))
def test_consistency_table_is_the_loss_of_the_unions(seed, count, following_count):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 20, 2))
    first, second = (rng.random((n, *size)) < 0.3 for n in (count, following_count))
    pick = [tuple(i for i in range(count) if rng.random() < 0.5) for _ in range(3)]
    following_pick = [tuple(i for i in range(following_count) if rng.random() < 0.5) for _ in range(2)]
    table = consistency_table(first, pick, second, following_pick)
    for k, a in enumerate(pick):
        for j, b in enumerate(following_pick):
            unions = first[list(a)].any(axis=0), second[list(b)].any(axis=0)
            assert table[k, j] == pytest.approx(consistency_loss(*unions), abs=1e-12)


def test_two_empty_selections_are_not_rewarded():
    nothing = np.zeros((3, 3), bool)
    assert consistency_loss(nothing, nothing) == 0
    assert consistency_loss(nothing, ~nothing) == 0
    assert consistency_loss(~nothing, ~nothing) == -1
