"""Forecasts of pair costs: right where flow is local, humble where nothing is known, the same path with less work."""

import itertools

import numpy as np
import pytest
from mining_red_square import RedIsObject, RedProposer, frame

from fewmask.mining.flow import DisFlow
from fewmask.mining.flow_costs import FlowCosts
from fewmask.mining.flow_forecast import FlowForecast
from fewmask.mining.frame_candidates import frame_candidates
from fewmask.mining.path import best_path
from fewmask.mining.selection import select
from fewmask.mining.settings import MiningSettings
from fewmask.mining.synthetic_flow import FramePair, natural_canvas
from fewmask.mining.video_objective import VideoObjective

HEIGHT, WIDTH = 40, 90


def local_flow(rgb, following):
    """Depends on each pixel alone, so that what is far away cannot matter."""
    return np.abs(following[..., :2].astype(np.float32) - rgb[..., :2].astype(np.float32)) / 16


@pytest.fixture
def costs():
    """Three masks far apart, two combinations of them at t and four at t + 1."""
    rng = np.random.default_rng(0)
    rgb, following = rng.integers(0, 255, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    masks = np.zeros((3, HEIGHT, WIDTH), bool)
    for i in range(3):
        masks[i, 10:25, 5 + 30 * i : 20 + 30 * i] = True
    pair = FramePair(rgb, following, local_flow(rgb, following), natural_canvas(HEIGHT, WIDTH))
    combinations = [(0, 1), (0, 1, 2), ()]
    return FlowCosts(pair, masks, combinations, masks, [(0, 1, 2), (1, 2), (0,), (0, 1)], local_flow)


def inside(costs):
    return np.array([[sum(costs.inside(k, j)) for j in range(4)] for k in range(3)])


def test_nothing_is_known_at_first(costs):
    assert not FlowForecast(costs).inside().any()


def test_what_was_seen_in_other_pairs_is_carried_over(costs):
    forecast, true = FlowForecast(costs), inside(costs)
    forecast.learn(0, 1, costs.inside(0, 1))  # mask 0 without a partner, mask 1 with one
    forecast.learn(1, 0, costs.inside(1, 0))  # all three with theirs
    told = forecast.inside()
    # (0, 3), (0, 0): masks 0 and 1 with partners, as in (1, 0); (1, 1): 0 without, 1 and 2 with.
    for pair in ((0, 0), (0, 3), (0, 1), (1, 0), (1, 1)):
        assert 0.7 * true[pair] <= told[pair] * (1 + 1e-9) <= true[pair] * (1 + 1e-9) + 1e-9
    assert not told[2].any()  # nothing is selected there


def test_what_was_seen_fades_where_the_next_frame_looks_different(costs):
    forecast = FlowForecast(costs)
    forecast.learn(0, 1, (0.5, 0.0))  # mask 0 without its partner
    assert forecast.inside()[0, 0] == 0  # with it most of what lies near mask 0 looks different
    assert forecast.inside()[0, 1] == pytest.approx(0.95 * 0.75 * 0.5)  # and less is sure of what vanished
    forecast.learn(0, 0, (0.02, 0.0))
    assert forecast.inside()[1, 3] == pytest.approx(0.95 * 0.02)  # the same near mask 0; mask 2 was not seen


def test_a_forecast_that_missed_makes_those_after_it_humbler(costs):
    steady, shaken = FlowForecast(costs), FlowForecast(costs)
    for forecast, share in ((steady, 1.0), (shaken, 0.9)):
        for _ in range(4):
            forecast.learn(1, 0, (0.1, 0.1, 0.1))
            forecast.inside()
        forecast.learn(1, 0, (0.1 * share, 0.1, 0.1))
    assert steady.inside()[1, 0] == pytest.approx(0.3 * 0.98)
    assert shaken.inside()[1, 0] == pytest.approx(0.29 * (0.29 / 0.3))


@pytest.mark.parametrize("speed", [1, 3])
def test_the_path_is_that_of_all_pairs_and_calls_are_saved(speed):
    settings = MiningSettings(flow_short_side=64)
    proposer = RedProposer()
    frames = [frame_candidates(t, frame(t, speed)[0], proposer, RedIsObject(), settings) for t in range(6)]
    objective = VideoObjective(frames, DisFlow(), settings)
    full = []
    for t, bound in enumerate(objective.bounds):
        pairs = itertools.product(*map(range, bound.shape))
        full.append(np.reshape([objective.learn(t, k, j, objective.inside(t, k, j)) for k, j in pairs], bound.shape))
    cost, path = best_path(objective.unary, full)
    found = {
        search: select(frames, DisFlow(), settings.model_copy(update={"flow_search": search}))
        for search in ("forecast", "bounds")
    }
    for selection in found.values():
        assert selection.ranks == tuple(path)
        assert selection.cost == pytest.approx(cost, abs=1e-9)
        assert min(selection.margins) >= 0
    assert found["forecast"].pairs_evaluated <= found["bounds"].pairs_evaluated < found["bounds"].pairs
