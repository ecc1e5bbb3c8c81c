"""Vectors in lists around centres; a search looks at the lists nearest to the query only.

An inverted file with full vectors: it takes additions and removals in place, and what it misses is governed by one
number, how many lists it probes.
"""

from typing import Any

import faiss
import numpy as np

from fewmask.retrieval.exact_scan import Form, Rows, Vectors

_TRAIN_PER_LIST = 40


class ClusteredLists:
    """About twice the square root of N lists of N vectors."""

    form: Form = "clustered"

    def __init__(self, faiss_index: Any, effort: int, built_with: int) -> None:
        self.faiss_index = faiss_index
        self.effort = effort
        self.built_with = built_with

    @classmethod
    def build(cls, rows: Rows, vectors: Vectors) -> "ClusteredLists":
        """Lists over these entries; ``effort`` is 1 until it is set."""
        count, dimension = vectors.shape
        lists = max(1, min(round(2 * count**0.5), count // 2))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.spherical = True  # else shorter, mixed centres would lose every comparison
        index.cp.min_points_per_centroid = 1
        index.cp.max_points_per_centroid = _TRAIN_PER_LIST
        index.train(vectors)
        index.add_with_ids(vectors, rows)
        return cls(index, 1, count)

    @classmethod
    def read(cls, faiss_index: Any, effort: int, built_with: int) -> "ClusteredLists":
        """What ``faiss_index`` gave to be kept.

        Raises:
            ValueError: it is something else.
        """
        if effort < 1 or not isinstance(faiss_index, faiss.IndexIVFFlat):
            raise ValueError(f"a {type(faiss_index).__name__} in place of clustered lists")
        return cls(faiss_index, effort, built_with)

    @property
    def lists(self) -> int:
        """How many there are."""
        return int(self.faiss_index.nlist)

    def search(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """As ``Structure`` says; looks at more lists where the nearest hold fewer than k entries."""
        scores, rows = self._search(vectors, k, self.effort)
        lists = self.effort
        while lists < self.lists and len(short := np.flatnonzero(rows[:, -1] < 0)):
            lists *= 2
            scores[short], rows[short] = self._search(vectors[short], k, lists)
        return scores, rows

    def within_reach(self, vectors: Vectors, most: int) -> tuple[Vectors, Rows]:
        """As ``Structure`` says."""
        scores, rows = self._search(vectors, most, self.effort)
        scores[rows < 0] = -np.inf
        return scores, rows

    def _search(self, vectors: Vectors, k: int, lists: int) -> tuple[Vectors, Rows]:
        probing = faiss.SearchParametersIVF()
        probing.nprobe = lists
        scores, rows = self.faiss_index.search(vectors, k, params=probing)
        return scores, rows

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """As ``Structure`` says."""
        self.faiss_index.add_with_ids(vectors, rows)

    def remove(self, rows: Rows) -> None:
        """As ``Structure`` says."""
        self.faiss_index.remove_ids(faiss.IDSelectorBatch(rows))

    def entries(self) -> tuple[Rows, Vectors]:
        """As ``Structure`` says; a copy."""
        index = self.faiss_index
        count, dimension = int(index.ntotal), int(index.d)
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
