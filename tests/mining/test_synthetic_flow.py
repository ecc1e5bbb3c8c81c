"""Synthetic flow, its costs and the search that leaves most of them out."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mining_moving_square import SIZE, scene

from fewmask.errors import CheckpointError, DatasetError
from fewmask.mining.flow import DisFlow, RaftFlow
from fewmask.mining.flow_costs import FlowCosts
from fewmask.mining.flow_loss import flow_loss
from fewmask.mining.lazy_path import best_path_lazily
from fewmask.mining.path import best_path
from fewmask.mining.synthetic_flow import FramePair, background_flow, natural_canvas, synthetic_flow


@pytest.fixture(scope="module")
def square():
    (rgb, mask), (following, following_mask) = scene(0), scene(1)
    estimate = DisFlow()
    return FramePair(rgb, following, estimate(rgb, following), natural_canvas(*SIZE)), mask, following_mask, estimate


def test_dis_sees_the_motion(square):
    pair, mask, _, _ = square
    inner = mask.copy()
    inner[:34], inner[58:], inner[:, :24], inner[:, 48:] = False, False, False, False
    np.testing.assert_allclose(pair.flow[inner].mean(axis=0), (3, 0), atol=0.1)
    assert np.abs(pair.flow[:20]).mean() < 0.1


def test_outside_is_the_mean_background_flow(square):
    pair, mask, following_mask, estimate = square
    synthetic = synthetic_flow(pair, mask, following_mask, estimate)
    mean = pair.flow[~mask].mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(synthetic[~mask], np.broadcast_to(mean, synthetic[~mask].shape), atol=1e-6)
    np.testing.assert_allclose(synthetic[mask].mean(axis=0), (3, 0), atol=0.5)


def test_an_empty_selection_gets_the_global_mean(square):
    pair, mask, _, estimate = square
    nothing = np.zeros_like(mask)
    synthetic = synthetic_flow(pair, nothing, nothing, estimate)
    np.testing.assert_allclose(synthetic.reshape(-1, 2).std(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(background_flow(pair.flow, ~nothing), pair.flow.mean(axis=(0, 1)), atol=1e-5)


def test_the_moving_object_explains_the_flow_best(square):
    pair, mask, following_mask, estimate = square
    nothing, wrong = np.zeros_like(mask), np.roll(mask, 60, axis=1)
    right = flow_loss(pair.flow, synthetic_flow(pair, mask, following_mask, estimate))
    for other in ((nothing, nothing), (wrong, wrong), (mask, nothing), (nothing, following_mask)):
        assert right < flow_loss(pair.flow, synthetic_flow(pair, *other, estimate))


def test_costs_are_the_loss_and_bounds_are_below(square):
    pair, mask, following_mask, estimate = square
    nothing = np.zeros_like(mask)
    halves = np.stack([mask, ~mask])
    halves[0, :, 40:] = False
    masks = np.stack([*halves, mask & ~halves[0]])
    combinations, following_combinations = [(0, 2), (), (1,)], [(0,), ()]
    selections, following = [mask, nothing, ~mask], [following_mask, nothing]
    costs = FlowCosts(pair, masks, combinations, following_mask[None], following_combinations, estimate)
    for k, selected in enumerate(selections):
        for j, following_selected in enumerate(following):
            wanted = flow_loss(pair.flow, synthetic_flow(pair, selected, following_selected, estimate))
            assert costs.cost(k, j) == pytest.approx(wanted, abs=1e-6)
            assert costs.bounds[k, j] <= costs.cost(k, j)
            assert costs.known[k, j] == (k == 1)
    assert costs.cost(1, 0) == costs.bounds[1, 0]


def test_canvas_is_the_same_everywhere_and_not_flat():
    canvas = natural_canvas(40, 60)
    assert canvas.shape == (40, 60, 3)
    assert canvas.std() > 20
    natural_canvas.cache_clear()
    np.testing.assert_array_equal(canvas, natural_canvas(40, 60))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_lazy_search_finds_the_same_path(seed, states):
    rng = np.random.default_rng(seed)
    unary = [rng.random(count) for count in states]
    pairwise = [rng.standard_normal((a, b)) for a, b in itertools.pairwise(states)]
    slack = [rng.random(table.shape) * rng.choice([0.1, 2]) for table in pairwise]
    known = [rng.random(table.shape) < 0.3 for table in pairwise]
    bounds = [np.where(k, table, table - s) for table, s, k in zip(pairwise, slack, known, strict=True)]
    calls = []

    def evaluate(t, k, j):
        calls.append((t, k, j))
        return pairwise[t][k, j]

    cost, path, costs = best_path_lazily(unary, bounds, known, evaluate)
    assert (cost, path) == best_path(unary, pairwise)
    assert len(set(calls)) == len(calls)
    assert not any(known[t][k, j] for t, k, j in calls)
    for table, exact in zip(costs, pairwise, strict=True):
        assert (table <= exact + 1e-12).all()


def test_a_wrong_bound_is_noticed():
    with pytest.raises(DatasetError, match="below its bound"):
        best_path_lazily([[0.0], [0.0]], [[[1.0]]], [np.array([[False]])], lambda t, k, j: 0.0)


def test_raft_refuses_other_weights(tmp_path):
    (tmp_path / "raft.pth").write_bytes(b"no weights")
    with pytest.raises(CheckpointError):
        RaftFlow(tmp_path / "raft.pth")


@pytest.mark.slow
def test_raft_runs_with_given_weights(tmp_path):
    import torch
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    torch.save(raft_small().state_dict(), tmp_path / "raft.pth")
    (rgb, _), (following, _) = scene(0), scene(1)
    flow = RaftFlow(tmp_path / "raft.pth", small=True)(rgb, following)
    assert flow.shape == (*SIZE, 2)
    assert np.isfinite(flow).all()
