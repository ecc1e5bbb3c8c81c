"""Random draws by key."""

from collections import Counter

import pytest

from fewmask.datasets.draws import draw_weighted, ranked


def test_weighted_draws_follow_their_weights() -> None:
    weights = {"often": 6.0, "seldom": 2.0, "rare": 1.0, "never": 0.0}
    first = Counter(draw_weighted(weights, 1, "first", number)[0] for number in range(3000))
    assert first["never"] == 0
    for name, weight in weights.items():
        assert first[name] / 3000 == pytest.approx(weight / 9, abs=0.03)


def test_weighted_draws_are_without_replacement_and_do_not_depend_on_the_listing() -> None:
    weights = {c: 1.0 + c for c in range(8)}
    drawn = draw_weighted(weights, 5, "key")
    assert len(set(drawn)) == 5
    assert drawn == draw_weighted(dict(reversed(weights.items())), 5, "key")
    assert drawn[:3] == draw_weighted(weights, 3, "key")
    assert drawn != draw_weighted(weights, 5, "another key")
    with pytest.raises(ValueError, match="cannot draw 9 of 8"):
        draw_weighted(weights, 9, "key")


def test_ranked_is_a_permutation() -> None:
    assert sorted(ranked(range(20), "key")) == list(range(20))
