"""The faiss structures behind a clip index: an exact scan for pools of ordinary size, clustered lists for large ones.

Design choices:
- The exact scan is right by definition and fast enough up to about a million clips.
- Above, an inverted file with full vectors: it takes additions and removals in place, and what it misses is governed by
  one number, how many lists it probes. That number is measured on the pool itself, not guessed: the smallest that finds
  ``TARGET_RECALL`` of the true neighbours of a sample. A pool without clusters needs so many lists that nothing is
  gained; then the exact scan stays.
"""

from dataclasses import dataclass
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

Kind = Literal["auto", "exact", "clustered"]
Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

CLUSTER_FROM = 800_000
"""Clips from which ``auto`` builds clustered lists."""
TARGET_RECALL = 0.995
"""Share of the five true neighbours that a sample must find; above the 0.99 promised, since a sample errs."""
_SAMPLE = 256
_TRAIN_PER_LIST = 40
_WORTHWHILE_SHARE = 0.25  # probing more of the lists than this is no faster than scanning everything in order


@dataclass
class Structure:
    """A faiss index over unit vectors whose entries carry row numbers, and how it is searched."""

    faiss_index: Any
    probes: int
    built_with: int

    @property
    def is_clustered(self) -> bool:
        """Whether searches look at some lists only."""
        return self.probes > 0

    def search(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Cosines and rows of the k nearest of each, best first; missing ones have row −1."""
        if not self.is_clustered:
            scores, rows = self.faiss_index.search(vectors, k)
            return scores, rows
        scores, rows = self.faiss_index.search(vectors, k, params=_probing(self.probes))
        return scores, rows

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Enter unit vectors under new row numbers."""
        self.faiss_index.add_with_ids(vectors, rows)

    def remove(self, rows: Rows) -> None:
        """Take rows out."""
        self.faiss_index.remove_ids(faiss.IDSelectorBatch(rows))

    def outgrown(self, count: int, kind: Kind) -> bool:
        """Whether ``count`` entries call for another structure."""
        if kind == "exact":
            return False
        if self.is_clustered:
            return count > 4 * self.built_with
        # ``built_with`` of an exact structure is the size at which clustering was last tried in vain.
        return count >= (1 if kind == "clustered" else CLUSTER_FROM) and count > 2 * self.built_with


def exact(dimension: int, *, built_with: int = 0) -> Structure:
    """An empty exact structure."""
    return Structure(faiss.IndexIDMap2(faiss.IndexFlatIP(dimension)), 0, built_with)


def rebuild(structure: Structure, *, always: bool) -> Structure:
    """Clustered lists over the entries of ``structure``, or its exact form where clusters do not pay.

    Args:
        structure: what is replaced; it is left as it was.
        always: keep the clustered lists however many of them have to be probed.
    """
    rows, vectors = entries(structure)
    lists = max(1, round(2 * len(rows) ** 0.5))
    dimension = vectors.shape[1]
    if len(rows) < 2 * lists:
        lists = max(1, len(rows) // 2)
    quantizer = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFFlat(quantizer, dimension, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = True  # else shorter, mixed centres would lose every comparison
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = _TRAIN_PER_LIST
    index.train(vectors)
    index.add_with_ids(vectors, rows)
    probes = _fewest_probes(index, rows, vectors)
    if probes <= max(1, lists * _WORTHWHILE_SHARE) or always:
        return Structure(index, probes, len(rows))
    flat = exact(dimension, built_with=len(rows))
    flat.add(rows, vectors)
    return flat


def entries(structure: Structure) -> tuple[Rows, Vectors]:
    """All rows and their unit vectors; a copy for clustered lists."""
    index = structure.faiss_index
    count, dimension = int(index.ntotal), int(index.d)
    if not structure.is_clustered:
        flat: Any = faiss.downcast_index(index.index)
        stored = faiss.rev_swig_ptr(flat.get_xb(), count * dimension).reshape(count, dimension)
        return faiss.vector_to_array(index.id_map), stored
    rows, vectors = np.empty(count, np.int64), np.empty((count, dimension), np.float32)
    start = 0
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size == 0:
            continue
        rows[start : start + size] = faiss.rev_swig_ptr(index.invlists.get_ids(number), size)
        codes = faiss.rev_swig_ptr(index.invlists.get_codes(number), size * dimension * 4)
        vectors[start : start + size] = codes.view(np.float32).reshape(size, dimension)
        start += size
    return rows, vectors


def _probing(lists: int) -> Any:
    parameters = faiss.SearchParametersIVF()
    parameters.nprobe = lists
    return parameters


def _fewest_probes(index: Any, rows: Rows, vectors: Vectors) -> int:
    """Lists to probe until a sample's own five neighbours are found as often as ``TARGET_RECALL`` asks."""
    sample = np.random.default_rng(0).choice(len(rows), min(_SAMPLE, len(rows)), replace=False)
    k = min(6, len(rows))  # each is its own nearest
    _, nearest = faiss.knn(vectors[sample], vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    truth = rows[nearest]
    probes = 1
    while probes < index.nlist:
        _, found = index.search(vectors[sample], k, params=_probing(probes))
        hits = (truth[:, 1:, None] == found[:, None, :]).any(-1).mean() if k > 1 else 1.0
        if hits >= TARGET_RECALL:
            return probes
        probes *= 2
    return int(index.nlist)
