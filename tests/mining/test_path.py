"""Stage 2 against the recorded optima and against trying every path."""

import itertools

import mining_recorded as recorded
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mining_exhaustive import every_path

from fewmask.errors import DatasetError
from fewmask.mining import best_combinations, best_path

TABLES = sorted(recorded.EXPECTED["video_tables"])
VIDEOS = sorted(recorded.EXPECTED["video_masks"])


@pytest.mark.parametrize("name", TABLES)
def test_recorded_tables(name):
    expected = recorded.EXPECTED["video_tables"][name]
    unary = [recorded.ARRAYS[f"{name}.unary{t}"] for t in range(expected["T"])]
    pairwise = [recorded.ARRAYS[f"{name}.pairwise{t}"] for t in range(expected["T"] - 1)]
    cost, path = best_path(unary, pairwise)
    assert cost == pytest.approx(expected["best_cost"], abs=1e-9)
    assert path == expected["best_path"]
    literal = expected["without_last_unary"]
    cost, path = best_path([*unary[:-1], np.zeros_like(unary[-1])], pairwise)
    assert cost == pytest.approx(literal["cost"], abs=1e-9)
    assert path[:-1] == literal["path"][:-1]


@pytest.mark.parametrize("name", VIDEOS)
def test_recorded_videos(name):
    expected = recorded.EXPECTED["video_masks"][name]
    frames = [
        best_combinations(recorded.masks(name, t), recorded.background(name, t), expected["K"])
        for t in range(expected["T"])
    ]
    for found, wanted in zip(frames, expected["frame_candidates"], strict=True):
        assert [list(indices) for _, indices in found] == [entry["masks"] for entry in wanted]
    unary = [np.array([cost for cost, _ in found]) for found in frames]
    pairwise = [
        recorded.ARRAYS[f"{name}.flow_cost{t}"] + 0.5 * recorded.ARRAYS[f"{name}.neg_iou{t}"]
        for t in range(expected["T"] - 1)
    ]
    cost, path = best_path(unary, pairwise)
    assert cost == pytest.approx(expected["best_cost"], abs=1e-9)
    assert path == expected["best_path"]
    assert [list(found[k][1]) for found, k in zip(frames, path, strict=True)] == expected["selected"]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 10), min_size=1, max_size=4), st.booleans())
def test_against_every_path(seed, states, whole_numbers):
    rng = np.random.default_rng(seed)
    draw = (lambda *size: rng.integers(-2, 3, size) / 1.0) if whole_numbers else (lambda *size: rng.normal(size=size))
    unary = [draw(count) for count in states]
    pairwise = [draw(a, b) for a, b in itertools.pairwise(states)]
    cost, path = best_path(unary, pairwise)
    wanted, wanted_path = every_path(unary, pairwise)
    assert cost == pytest.approx(wanted, abs=1e-9)
    assert path == wanted_path  # whole numbers tie: the smaller first differing index wins


def test_five_frames_of_ten_against_every_path():
    rng = np.random.default_rng(0)
    unary = [rng.standard_normal(10) for _ in range(5)]
    pairwise = [rng.standard_normal((10, 10)) for _ in range(4)]
    assert best_path(unary, pairwise)[1] == every_path(unary, pairwise)[1]


def test_no_frames():
    assert best_path([], []) == (0.0, [])


@pytest.mark.parametrize(
    ("unary", "pairwise"),
    [
        ([[1.0], []], [np.zeros((1, 0))]),
        ([[1.0], [1.0]], []),
        ([[1.0], [1.0, 2.0]], [np.zeros((2, 1))]),
        ([[np.nan]], []),
        ([[1.0], [1.0]], [[[np.nan]]]),
    ],
)
def test_refuses_tables_that_do_not_fit(unary, pairwise):
    with pytest.raises(DatasetError):
        best_path(unary, pairwise)
