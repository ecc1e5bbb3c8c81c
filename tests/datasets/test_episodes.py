from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewmask.datasets.draws import draw, ranked, seed_of
from fewmask.datasets.episodes import Protocol, episodes, read_episodes, write_episodes
from fewmask.errors import DatasetError

PRESENCE = {
    category: {f"v{category}_{video}": list(range(video % 4, 9)) for video in range(number)}
    for category, number in ((1, 12), (5, 7), (9, 6))
} | {13: {"only": [0], "empty": []}}
PROTOCOLS: tuple[Protocol, ...] = ("I", "II", "II-tti")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_supports_are_five_other_videos_that_show_the_class(protocol: Protocol) -> None:
    found = episodes(PRESENCE, protocol=protocol, fold=1, classes=(1, 5, 9), runs=range(3))
    for episode in found:
        videos = [video for video, _ in episode.supports]
        assert len(set(videos)) == 5
        assert episode.query not in videos
        assert all(frame in PRESENCE[episode.class_id][video] for video, frame in episode.supports)


def test_number_of_queries() -> None:
    def count(protocol: Protocol) -> Counter[int]:
        return Counter(e.class_id for e in episodes(PRESENCE, protocol=protocol, fold=1, classes=(1, 5, 9), runs=[0]))

    assert count("I") == {1: 7, 5: 2, 9: 1}
    assert count("II") == {1: 12, 5: 7, 9: 6}
    assert count("II-tti") == {1: 7, 5: 2, 9: 1}


def test_protocol_1_shares_its_supports_and_2_does_not() -> None:
    for protocol, number in (("I", 1), ("II", 12)):
        found = episodes(PRESENCE, protocol=protocol, fold=1, classes=[1], runs=[0])  # type: ignore[arg-type]
        assert len({episode.supports for episode in found}) == number


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_order_and_company_change_nothing(protocol: Protocol) -> None:
    whole = episodes(PRESENCE, protocol=protocol, fold=2, classes=(9, 5, 1), runs=range(3))
    backwards = {c: dict(reversed(list(videos.items()))) for c, videos in reversed(list(PRESENCE.items()))}
    pieces = [
        e
        for run in (2, 0, 1)
        for c in (5, 1, 9)
        for e in episodes(backwards, protocol=protocol, fold=2, classes=[c], runs=[run])
    ]
    assert sorted(whole, key=repr) == sorted(pieces, key=repr)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_run_and_fold_change_the_supports(protocol: Protocol) -> None:
    def supports(fold: int, run: int) -> list[object]:
        return [e.supports for e in episodes(PRESENCE, protocol=protocol, fold=fold, classes=[1], runs=[run])]

    assert supports(1, 0) != supports(1, 1)
    assert supports(1, 0) != supports(2, 0)


def test_too_few_videos() -> None:
    with pytest.raises(DatasetError, match="class 13 is visible in 1 videos; 5 supports and a query need 6"):
        episodes(PRESENCE, fold=1, classes=[13])


def test_file_round_trip(tmp_path: Path) -> None:
    found = episodes(PRESENCE, fold=1, classes=(1, 5))
    write_episodes(tmp_path / "e.json", found, protocol="II")
    assert read_episodes(tmp_path / "e.json") == found
    (tmp_path / "e.json").write_text(
        '{"episodes": [{"run": 0, "fold": 1, "class_id": 1, "query": "a", "supports": [3]}]}'
    )
    with pytest.raises(DatasetError, match=r"episodes\[0\]: a support must be"):
        read_episodes(tmp_path / "e.json")


def test_draws_are_pinned() -> None:
    # Written down once: a change here would silently change every published split and episode.
    assert draw(range(100), 5, "pinned", 1) == [10, 87, 13, 66, 24]
    assert seed_of("pinned", 1) == 7993743725971759420


@given(st.sets(st.integers(0, 10**6), min_size=1), st.integers(0, 100))
def test_draws_do_not_depend_on_order(candidates: set[int], key: int) -> None:
    assert ranked(sorted(candidates), key) == ranked(sorted(candidates, reverse=True), key)


def test_draws_are_uniform() -> None:
    first = Counter(draw(range(10), 1, "uniform", key)[0] for key in range(20_000))
    counts = np.array([first[value] for value in range(10)])
    chi_square = ((counts - 2000.0) ** 2 / 2000.0).sum()
    assert chi_square < 30  # 9 degrees of freedom: exceeded with probability 4e-4, and the draw is fixed
