"""Random draws that depend on a written key alone, never on the order of candidates or of earlier draws.

Every candidate is ranked by a hash (BLAKE2b) of the key and of itself. So a draw is the same on every machine, in
every process and Python version, whatever else was drawn before, and however the candidates were listed.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

Key = int | str
Candidate = TypeVar("Candidate", bound=int | str | tuple[int | str, ...])


def ranked(candidates: Iterable[Candidate], *key: Key) -> list[Candidate]:
    """The candidates in the random order that ``key`` gives; each candidate should be there once."""
    start = hashlib.blake2b(json.dumps(key).encode(), digest_size=16)

    def place(candidate: Candidate) -> bytes:
        hasher = start.copy()
        hasher.update(json.dumps(candidate).encode())
        return hasher.digest()

    return sorted(candidates, key=place)


def draw(candidates: Iterable[Candidate], count: int, *key: Key) -> list[Candidate]:
    """``count`` candidates, uniformly and without replacement; fewer draws are the beginning of more draws.

    Raises:
        ValueError: there are fewer than ``count`` candidates.
    """
    order = ranked(candidates, *key)
    if len(order) < count:
        raise ValueError(f"cannot draw {count} of {len(order)} candidates")
    return order[:count]


def draw_weighted(weights: Mapping[Candidate, float], count: int, *key: Key) -> list[Candidate]:
    """``count`` candidates without replacement, each next one with a chance in proportion to its weight.

    The largest values of ``log(u) / weight`` with u uniform for each candidate (Efraimidis and Spirakis 2006).

    Raises:
        ValueError: there are fewer than ``count`` candidates of positive weight.
    """
    positive = {candidate: weight for candidate, weight in weights.items() if weight > 0}
    if len(positive) < count:
        raise ValueError(f"cannot draw {count} of {len(positive)} candidates")

    def place(candidate: Candidate) -> float:
        uniform = (seed_of(*key, json.dumps(candidate)) + 0.5) / 2**63
        return -math.log(uniform) / positive[candidate]

    return sorted(ranked(positive, *key), key=place)[:count]


def seed_of(*key: Key) -> int:
    """A seed in [0, 2**63) for other generators, from the same hash."""
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
