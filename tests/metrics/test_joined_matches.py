"""Matches kept in files between workers: back as they were, and damage told in one line."""

import random

import numpy as np
import pytest

from fewmask.errors import DatasetError
from fewmask.metrics.joined_matches import read_matches, write_matches
from fewmask.metrics.track_matching import Matches, TrackRange

ONE = np.array([1])
HIT = np.ones((1, 2, 1), bool)
MATCHES = Matches(
    (TrackRange("all", "area", 0.0, 1e10),), (1,), ONE, ONE, ONE * 0, ONE * 0.5, HIT, ~HIT, {(1, 1): np.array([3])}
)  # fmt: skip


def test_matches_come_back_as_they_were(tmp_path):
    write_matches(tmp_path / "a.npz", MATCHES)
    back = read_matches(tmp_path / "a.npz")
    assert (back.ranges, back.classes) == (MATCHES.ranges, MATCHES.classes)
    for name in ("class_ids", "video_ids", "ranks", "scores", "hits", "ignored"):
        np.testing.assert_array_equal(getattr(back, name), getattr(MATCHES, name))
    assert {key: count.tolist() for key, count in back.positives.items()} == {(1, 1): [3]}


def test_damaged_matches_are_told_in_one_line(tmp_path):
    write_matches(tmp_path / "a.npz", MATCHES)
    whole, numbers, said = (tmp_path / "a.npz").read_bytes(), random.Random(3), []
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[numbers.randrange(len(damaged))] ^= 1 << numbers.randrange(8)
        (tmp_path / "b.npz").write_bytes(damaged[: numbers.randrange(1, len(damaged) + 1)])
        try:
            read_matches(tmp_path / "b.npz")
        except DatasetError as error:
            said.append(str(error))
    assert len(said) > 150
    assert all("\n" not in line and "measure its video again" in line for line in said)
    with pytest.raises(DatasetError, match="missing"):
        read_matches(tmp_path / "none.npz")
