"""Which structure holds the vectors of a clip index: an exact scan for pools of ordinary size, others for large ones.

Above about a million clips, lists around centres where the pool has clusters, compressed codes where it has none. What
either misses is governed by one number, its effort, which is measured on the pool itself, not guessed: the smallest
that finds ``TARGET_RECALL`` of the neighbours that a clip like those of the pool, but not in it, would have.
"""

from collections.abc import Callable
from typing import Any, Literal

import faiss
import numpy as np

from fewmask.retrieval.clustered_lists import ClusteredLists
from fewmask.retrieval.compressed_scan import WORTHWHILE_SHARE, CompressedScan
from fewmask.retrieval.exact_scan import ExactScan, Form, Structure, Vectors

Kind = Literal["auto", "exact", "clustered", "compressed"]

EXACT_BELOW = 800_000
"""Clips from which ``auto`` leaves the exact scan."""
TARGET_RECALL = 0.995
"""Share of its neighbours that a sample must find; above the 0.99 of five promised, since a sample errs."""
_LEARN_CODES_FROM = 256
_FEWEST_CANDIDATES = 32
_WORTHWHILE_LISTS = 0.06  # looking at more of the lists than this is no faster than looking at all codes
_SAMPLE = 256
_NEIGHBOURS = 10
_DEPTH = 50
_NEAR_COPY = 0.25
_SAME_SCORE = 1e-5


def outgrown(structure: Structure, count: int, kind: Kind) -> bool:
    """Whether ``count`` entries call for another structure than this."""
    if kind == "exact":
        return False
    if structure.form != "exact":
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
    sample = _Sample(vectors)
    if kind != "compressed":
        lists = ClusteredLists.build(rows, vectors)
        while lists.effort < lists.lists and not sample.finds_its_own(lists):
            lists.effort = min(2 * lists.effort, lists.lists)
        if kind == "clustered" or lists.effort <= max(1, _WORTHWHILE_LISTS * lists.lists):
            return lists
        del lists  # a copy of all vectors
    if isinstance(structure, CompressedScan):
        exact = structure.vectors
    elif isinstance(structure, ExactScan):
        exact = structure
    else:
        exact = ExactScan.empty(vectors.shape[1])
        exact.add(rows, vectors)
    codes = CompressedScan.build(exact)
    codes.effort = min(_FEWEST_CANDIDATES, len(rows))
    while codes.effort < len(rows) and not sample.finds_its_own(codes):
        codes.effort = min(codes.effort * 3 // 2, len(rows))
    if kind == "compressed" or codes.effort <= WORTHWHILE_SHARE * len(rows):
        return codes
    exact.built_with = len(rows)
    return exact


def read(form: Form, faiss_index: Any, effort: int, built_with: int) -> Structure:
    """The structure whose ``faiss_index`` was kept.

    Raises:
        ValueError: it is of another form.
    """
    readers: dict[Form, Callable[[Any, int, int], Structure]] = {
        "exact": ExactScan.read,
        "clustered": ClusteredLists.read,
        "compressed": CompressedScan.read,
    }
    return readers[form](faiss_index, effort, built_with)


class _Sample:
    """Some entries with their true neighbours, in the place of queries to come.

    Near-copies of an entry, as other clips of its video, are no measure: a query from elsewhere has none, and finding
    them is easy. They are passed over: all that are four times nearer than the entry's 50th neighbour.
    """

    def __init__(self, vectors: Vectors) -> None:
        chosen = np.random.default_rng(0).choice(len(vectors), min(_SAMPLE, len(vectors)), replace=False)
        self._queries = vectors[chosen]
        depth = min(_DEPTH, len(vectors))
        scores, _ = faiss.knn(self._queries, vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)
        copies = (1 - scores < _NEAR_COPY * (1 - scores[:, -1:])).sum(1)
        self._skipped = np.clip(copies, 1, max(1, depth - _NEIGHBOURS))  # at least itself
        self._truth = scores

    def finds_its_own(self, structure: Structure) -> bool:
        """Whether ten neighbours of each, or others as near, are found as often as ``TARGET_RECALL`` asks."""
        scores, _ = structure.within_reach(self._queries, self._truth.shape[1])
        recalls = []
        for found, truth, skipped in zip(scores, self._truth, self._skipped, strict=True):
            wanted = truth[skipped : skipped + _NEIGHBOURS]
            if len(wanted):
                hits = (found >= wanted[-1] - _SAME_SCORE) & (found <= wanted[0] + _SAME_SCORE)
                recalls.append(min(int(hits.sum()), len(wanted)) / len(wanted))
        return not recalls or bool(np.mean(recalls) >= TARGET_RECALL)
