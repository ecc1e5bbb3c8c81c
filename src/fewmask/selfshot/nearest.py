"""Which structure holds the vectors of a clip index: an exact scan for pools of ordinary size, others for large ones.

Above about a million clips, lists around centres where the pool has clusters, compressed codes where it has none. What
either misses is governed by one number, and that number is measured on the pool itself, not guessed: the smallest that
finds ``TARGET_RECALL`` of the true neighbours of a sample.
"""

from typing import Any, Literal

import faiss
import numpy as np

from fewmask.selfshot.clustered_lists import ClusteredLists
from fewmask.selfshot.compressed_scan import CompressedScan
from fewmask.selfshot.exact_scan import ExactScan, Rows, Structure, Vectors

Form = Literal["exact", "clustered", "compressed"]
Kind = Literal["auto", "exact", "clustered", "compressed"]

EXACT_BELOW = 800_000
"""Clips from which ``auto`` leaves the exact scan."""
TARGET_RECALL = 0.995
"""Share of the five true neighbours that a sample must find; above the 0.99 promised, since a sample errs."""
_SAMPLE = 256
_LEARN_CODES_FROM = 256
_FEWEST_CANDIDATES = 32
# Looking at more of the pool than this is no faster than the codes (lists) or than everything in order (candidates,
# which lie far apart in memory).
_WORTHWHILE_LISTS = 0.06
_WORTHWHILE_CANDIDATES = 0.05


def form(structure: Structure) -> Form:
    """What ``structure`` is."""
    if structure.candidates:
        return "compressed"
    return "clustered" if structure.probes else "exact"


def outgrown(structure: Structure, count: int, kind: Kind) -> bool:
    """Whether ``count`` entries call for another structure than this."""
    if kind == "exact":
        return False
    if form(structure) != "exact":
        return count > 4 * structure.built_with
    fewest = {"auto": EXACT_BELOW, "clustered": 1, "compressed": _LEARN_CODES_FROM}
    return count >= fewest[kind] and count > 2 * structure.built_with


def rebuilt(structure: Structure, kind: Kind) -> Structure:
    """The structure that suits the entries of ``structure``, which may share its vectors.

    Args:
        structure: what is replaced.
        kind: "auto" takes what pays; the others are held to however little they pay.
    """
    rows, vectors = structure.entries()
    sample = np.random.default_rng(0).choice(len(rows), min(_SAMPLE, len(rows)), replace=False)
    queries = vectors[sample].copy()
    _, truth = faiss.knn(queries, vectors, min(6, len(rows)), metric=faiss.METRIC_INNER_PRODUCT)
    truth = rows[truth]
    if kind != "compressed":
        lists = ClusteredLists.build(rows, vectors)
        lists.probes = 1
        while lists.probes < lists.lists and not _finds(lists, queries, truth):
            lists.probes = min(2 * lists.probes, lists.lists)
        if kind == "clustered" or lists.probes <= max(1, _WORTHWHILE_LISTS * lists.lists):
            return lists
        del lists  # a copy of all vectors
    exact = structure if isinstance(structure, ExactScan) else ExactScan.empty(vectors.shape[1])
    if exact is not structure:
        exact.add(rows, vectors)
    codes = CompressedScan.build(exact)
    codes.candidates = min(_FEWEST_CANDIDATES, len(rows))
    while codes.candidates < len(rows) and not _finds(codes, queries, truth):
        codes.candidates = min(2 * codes.candidates, len(rows))
    if kind == "compressed" or codes.candidates <= _WORTHWHILE_CANDIDATES * len(rows):
        return codes
    exact.built_with = len(rows)
    return exact


def read(faiss_index: Any, *, probes: int, candidates: int, built_with: int) -> Structure:
    """The structure whose ``faiss_index`` was kept.

    Raises:
        ValueError: it is of another form than the numbers say.
    """
    if candidates:
        return CompressedScan.read(faiss_index, candidates, built_with)
    if probes:
        return ClusteredLists(faiss_index, probes, built_with)
    return ExactScan(faiss_index, built_with)


def _finds(structure: Structure, queries: Vectors, truth: Rows) -> bool:
    """Whether five of a sample's own neighbours are found as often as ``TARGET_RECALL`` asks; the first is itself."""
    if truth.shape[1] < 2:
        return True
    _, found = structure.search(queries, truth.shape[1])
    return bool((truth[:, 1:, None] == found[:, None, :]).any(-1).mean() >= TARGET_RECALL)
