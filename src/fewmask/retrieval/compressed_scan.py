"""Every vector is looked at in a code of two bits a dimension; the most promising are compared exactly.

For large pools without clusters, where no list can be left out: the codes are a sixteenth of the vectors, and a
processor compares 32 of them at once (product quantisation with 16 centres for every two dimensions). How many
candidates are then compared exactly governs what is missed.
"""

from typing import Any

import faiss
import numpy as np

from fewmask.retrieval.exact_scan import ExactScan, Form, Rows, Vectors

_TRAIN_WITH = 50_000
_CHUNK = 100_000
_MEANT_FOR = 6
"""Neighbours that ``effort`` is meant for, five and the query itself; a search for more compares more."""
WORTHWHILE_SHARE = 0.05
"""Comparing more of the pool than this, one here and one there, is no faster than comparing all in order."""


class CompressedScan:
    """The vectors, and a code for each; ``effort`` candidates are compared exactly."""

    form: Form = "compressed"

    def __init__(self, both: Any, vectors: ExactScan, codes: Any, effort: int, built_with: int) -> None:
        self._both = both
        self.vectors = vectors
        self._codes = codes
        self.effort = effort
        self.built_with = built_with

    @classmethod
    def build(cls, vectors: ExactScan) -> "CompressedScan":
        """Codes for the entries of ``vectors``, which is not copied; ``effort`` is 1 until it is set."""
        rows, stored = vectors.entries()
        count, dimension = stored.shape
        centre = faiss.IndexFlatIP(dimension)
        centre.add(np.zeros((1, dimension), np.float32))
        # One list that holds everything: unlike faiss's plain scan of codes, it takes removals.
        codes = faiss.IndexIVFPQFastScan(
            centre, dimension, 1, dimension // 2 if dimension % 2 == 0 else dimension, 4, faiss.METRIC_INNER_PRODUCT
        )
        codes.by_residual = False
        codes.pq.cp.min_points_per_centroid = 1
        chosen = np.random.default_rng(0).choice(count, min(_TRAIN_WITH, count), replace=False)
        codes.train(stored[np.sort(chosen)])
        for start in range(0, count, _CHUNK):
            codes.add_with_ids(stored[start : start + _CHUNK], rows[start : start + _CHUNK])
        return cls(faiss.IndexRefine(codes, vectors.faiss_index), vectors, codes, 1, count)

    @classmethod
    def read(cls, faiss_index: Any, effort: int, built_with: int) -> "CompressedScan":
        """What ``faiss_index`` gave to be kept.

        Raises:
            ValueError: it is something else.
        """
        if effort < 1 or not isinstance(faiss_index, faiss.IndexRefine):
            raise ValueError(f"a {type(faiss_index).__name__} in place of codes and vectors")
        codes: Any = faiss.downcast_index(faiss_index.base_index)
        vectors: Any = faiss.downcast_index(faiss_index.refine_index)
        return cls(faiss_index, ExactScan(vectors), codes, effort, built_with)

    @property
    def faiss_index(self) -> Any:
        """Codes and vectors in one, for keeping only: faiss could search it if rows were numbered without gaps."""
        self._both.ntotal = len(self.vectors)
        return self._both

    def search(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """As ``Structure`` says; exact where that is not slower."""
        candidates = self.effort * -(-k // _MEANT_FOR)
        # Not the codes' own count: older faiss forgets to lower it.
        if candidates >= len(self.vectors) or (k > _MEANT_FOR and candidates > WORTHWHILE_SHARE * len(self.vectors)):
            return self.vectors.search(vectors, k)
        scores, rows = self._search(vectors, k, candidates)
        short = np.flatnonzero(rows[:, -1] < 0)
        if len(short):
            scores[short], rows[short] = self.vectors.search(vectors[short], k)
        return scores, rows

    def within_reach(self, vectors: Vectors, most: int) -> tuple[Vectors, Rows]:
        """As ``Structure`` says."""
        return self._search(vectors, most, min(self.effort, len(self.vectors)))

    def _search(self, vectors: Vectors, k: int, candidates: int) -> tuple[Vectors, Rows]:
        """The k best of the candidates; −inf and row −1 where there are fewer."""
        _, promising = self._codes.search(vectors, candidates)
        scores = np.full((len(vectors), k), -np.inf, np.float32)
        rows = np.full((len(vectors), k), -1, np.int64)
        for number, (query, found) in enumerate(zip(vectors, promising, strict=True)):
            near = found[found >= 0]  # faiss leaves out what its rounded scores put at the very bottom
            cosines = self.vectors.vectors_of(near) @ query
            best = np.argsort(-cosines, kind="stable")[:k]
            scores[number, : len(best)], rows[number, : len(best)] = cosines[best], near[best]
        return scores, rows

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """As ``Structure`` says."""
        self.vectors.add(rows, vectors)
        self._codes.add_with_ids(vectors, rows)

    def remove(self, rows: Rows) -> None:
        """As ``Structure`` says."""
        self.vectors.remove(rows)
        self._codes.remove_ids(faiss.IDSelectorBatch(rows))

    def entries(self) -> tuple[Rows, Vectors]:
        """As ``Structure`` says; the vectors are a view."""
        return self.vectors.entries()
