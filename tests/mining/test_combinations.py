"""Stage 1 against the recorded optima and against trying everything."""

import mining_recorded as recorded
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mining_exhaustive import every_combination

from fewmask.errors import ConfigError, DatasetError
from fewmask.mining import best_combinations
from fewmask.mining.frame_candidates import frame_candidates
from fewmask.mining.settings import MiningSettings

FRAMES = sorted(recorded.EXPECTED["frames"])


def same(found, wanted):
    """Equal costs to 1e-9, and the same set wherever its cost stands apart from its neighbours'."""
    assert len(found) == len(wanted)
    for (cost, _), (wanted_cost, _) in zip(found, wanted, strict=True):
        assert cost == pytest.approx(wanted_cost, abs=1e-9)
    apart = 2e-9
    for i, (cost, indices) in enumerate(wanted):
        before = i == 0 or cost - wanted[i - 1][0] > apart
        after = i + 1 < len(wanted) and wanted[i + 1][0] - cost > apart
        if before and after:
            assert found[i][1] == indices


def entries(name, key):
    return [(entry["cost"], tuple(entry["masks"])) for entry in recorded.EXPECTED["frames"][name][key]]


@pytest.mark.parametrize("name", FRAMES)
def test_recorded_frames(name):
    masks, background = recorded.masks(name), recorded.background(name)
    expected = recorded.EXPECTED["frames"][name]
    same(best_combinations(masks, background, expected["K"]), entries(name, "top"))
    assert len(best_combinations(masks, background, 10**4)) == expected["n_feasible"]
    if expected.get("top_without_disjointness"):
        same(best_combinations(masks, background, 10, disjoint=False), entries(name, "top_without_disjointness"))
    if expected.get("top_allowing_overlap_of_4_pixels"):
        same(best_combinations(masks, background, 10, tolerance=4), entries(name, "top_allowing_overlap_of_4_pixels"))


@st.composite
def frames(draw, most=10):
    seed, count = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, most))
    style = draw(st.sampled_from(["random", "flat", "saturated", "coarse"]))
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 9, 2)
    background = {
        "random": rng.random((height, width)),
        "flat": np.full((height, width), 0.5),
        "saturated": rng.integers(0, 2, (height, width)).astype(float),
        "coarse": rng.integers(1, 4, (height, width)) / 4,
    }[style]
    masks = rng.random((count, height, width)) < rng.choice([0.05, 0.15, 0.4])
    if count > 1 and draw(st.booleans()):
        masks[-1] = masks[0]  # identical masks
    if count > 2 and draw(st.booleans()):
        masks[1] = False  # an empty mask
    return masks, background


@settings(max_examples=120, deadline=None)
@given(frames(), st.integers(1, 10), st.sampled_from([0, 1, 3, None]), st.sampled_from(["mean", "sum"]))
def test_against_every_combination(frame, k, tolerance, reduction):
    masks, background = frame
    options = {"disjoint": tolerance is not None, "tolerance": tolerance or 0, "reduction": reduction}
    found = best_combinations(masks, background, k, **options)
    wanted = every_combination(masks, background, **options)
    by_set = {indices: cost for cost, indices in wanted}
    assert [cost for cost, _ in found] == pytest.approx([cost for cost, _ in wanted[:k]], abs=1e-9)
    assert [by_set[indices] for _, indices in found] == pytest.approx([cost for cost, _ in found], abs=1e-9)
    assert found == sorted(found, key=lambda item: (item[0], len(item[1]), item[1]))
    assert len({indices for _, indices in found}) == len(found)


@settings(max_examples=40, deadline=None)
@given(frames(8), st.randoms(use_true_random=False), st.sampled_from([0, 2, None]))
def test_order_of_masks_does_not_matter(frame, random, tolerance):
    masks, background = frame
    options = {"disjoint": tolerance is not None, "tolerance": tolerance or 0}
    order = list(range(len(masks)))
    random.shuffle(order)
    everything = 2 ** len(masks)
    plain = best_combinations(masks, background, everything, **options)
    shuffled = best_combinations(masks[order], background, everything, **options)
    renamed = [(cost, tuple(sorted(order[i] for i in indices))) for cost, indices in shuffled]
    assert sorted(renamed, key=lambda item: (item[0], len(item[1]), item[1])) == plain  # costs bit for bit


def test_ties_go_to_fewer_masks_then_smaller_indices():
    masks = np.zeros((3, 1, 6), dtype=bool)
    masks[0, 0, :2] = masks[1, 0, 2:4] = True
    masks[2, 0, :4] = True
    background = np.full((1, 6), 0.25)
    assert [indices for _, indices in best_combinations(masks, background, 4)] == [(2,), (0, 1), (0,), (1,)]


def test_thirty_crowded_masks_are_exact():
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:60, :80]
    centres = rng.uniform((5, 5), (55, 75), (30, 2))
    radii = rng.uniform(4, 14, 30)
    masks = ((rows - centres[:, :1, None]) ** 2 + (columns - centres[:, 1:, None]) ** 2) < radii[:, None, None] ** 2
    background = np.clip(rng.normal(0.6, 0.3, (60, 80)), 0, 1)
    found = best_combinations(masks, background, 10)
    shuffled = rng.permutation(30)
    again = best_combinations(masks[shuffled], background, 10)
    assert [tuple(sorted(shuffled[i] for i in indices)) for _, indices in again] == [indices for _, indices in found]


@pytest.mark.parametrize(
    ("masks", "background", "options", "error"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), {}, DatasetError),
        (np.zeros((2, 3, 4)), np.zeros((4, 3)), {}, DatasetError),
        (np.zeros((2, 3, 4)), np.full((3, 4), 1.5), {}, DatasetError),
        (np.zeros((2, 3, 4)), np.full((3, 4), np.nan), {}, DatasetError),
        (np.zeros((2, 0, 4)), np.zeros((0, 4)), {}, DatasetError),
        (np.zeros((2, 3, 4)), np.full((3, 4), 0.5), {"k": 0}, ConfigError),
        (np.zeros((2, 3, 4)), np.full((3, 4), 0.5), {"tolerance": -1}, ConfigError),
        (np.zeros((2, 3, 4)), np.full((3, 4), 0.5), {"reduction": "median"}, ConfigError),
    ],
)
def test_refuses_what_it_cannot_mean(masks, background, options, error):
    with pytest.raises(error):
        best_combinations(masks, background, **{"k": 5, **options})


def test_a_bonus_of_each_mask_is_taken_off_the_cost():
    rng = np.random.default_rng(3)
    masks = np.zeros((4, 6, 8), bool)
    masks[0, :3, :4] = masks[1, 3:, :4] = masks[2, :, 4:6] = masks[3, 1:5, 3:6] = True
    background, bonus = rng.random((6, 8)), [0.3, -0.2, 0.0, 0.5]
    plain = {indices: cost for cost, indices in best_combinations(masks, background, 100)}
    for cost, indices in best_combinations(masks, background, 100, bonus=bonus):
        assert cost == pytest.approx(plain[indices] - sum(bonus[i] for i in indices), abs=1e-9)
    costs = [cost for cost, _ in best_combinations(masks, background, 100, bonus=bonus)]
    assert costs == sorted(costs)
    for changes in ({"tolerance": 1}, {"disjoint": False}):
        with pytest.raises(ConfigError, match="tolerance 0"):
            best_combinations(masks, background, 3, bonus=bonus, **changes)


def test_scores_count_as_the_settings_say():
    class Given:
        def propose(self, _rgb):
            masks = np.zeros((2, 20, 20), bool)
            masks[0, :8], masks[1, 10:] = True, True
            return masks, np.array([0.95, 0.55])

        def background(self, _rgb):
            return np.full((20, 20), 0.5, np.float32)

    def chosen(**changes):
        picture = np.zeros((20, 20, 3), np.uint8)
        return frame_candidates(0, picture, Given(), Given(), MiningSettings(**changes)).combinations[0][1]

    assert chosen() == ()
    assert chosen(weight_score=0.2) == (0,)
    assert chosen(weight_score=0.2, score_centre=0.5) == (0, 1)
