"""Every vector is looked at in a code of two bits a dimension; the most promising are compared exactly.

For large pools without clusters, where no list can be left out: the codes are a sixteenth of the vectors, and a
processor compares 32 of them at once (product quantisation with 16 centres for every two dimensions). How many
candidates are then compared exactly governs what is missed.
"""

from typing import Any

import faiss
import numpy as np

from fewmask.selfshot.exact_scan import ExactScan, Rows, Vectors

_TRAIN_WITH = 50_000
_CHUNK = 100_000
_MEANT_FOR = 6
"""Neighbours that ``candidates`` is meant for, five and the query itself; a search for more compares more."""


class CompressedScan:
    """The vectors, and a code for each."""

    probes = 0

    def __init__(self, both: Any, vectors: ExactScan, codes: Any, candidates: int, built_with: int) -> None:
        self._both = both
        self._vectors = vectors
        self._codes = codes
        self.candidates = candidates
        self.built_with = built_with

    @classmethod
    def build(cls, vectors: ExactScan) -> "CompressedScan":
        """Codes for the entries of ``vectors``, which is not copied; ``candidates`` is 1 until it is set."""
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
    def read(cls, faiss_index: Any, candidates: int, built_with: int) -> "CompressedScan":
        """What ``faiss_index`` gave to be kept.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(faiss_index, faiss.IndexRefine):
            raise ValueError(f"a {type(faiss_index).__name__} in place of codes and vectors")
        codes: Any = faiss.downcast_index(faiss_index.base_index)
        vectors: Any = faiss.downcast_index(faiss_index.refine_index)
        return cls(faiss_index, ExactScan(vectors), codes, candidates, built_with)

    @property
    def faiss_index(self) -> Any:
        """Codes and vectors in one, for keeping only: faiss could search it if rows were numbered without gaps."""
        self._both.ntotal = self._vectors.faiss_index.ntotal
        return self._both

    def search(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """As ``Structure`` says."""
        candidates = self.candidates * -(-k // _MEANT_FOR)
        if candidates >= self._vectors.faiss_index.ntotal:  # not the codes': older faiss forgets to lower theirs
            return self._vectors.search(vectors, k)
        _, promising = self._codes.search(vectors, candidates)
        scores, rows = np.empty((len(vectors), k), np.float32), np.empty((len(vectors), k), np.int64)
        for number, (query, near) in enumerate(zip(vectors, promising, strict=True)):
            cosines = self._vectors.vectors_of(near) @ query
            best = np.argsort(-cosines, kind="stable")[:k]
            scores[number], rows[number] = cosines[best], near[best]
        return scores, rows

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """As ``Structure`` says."""
        self._vectors.add(rows, vectors)
        self._codes.add_with_ids(vectors, rows)

    def remove(self, rows: Rows) -> None:
        """As ``Structure`` says."""
        self._vectors.remove(rows)
        self._codes.remove_ids(faiss.IDSelectorBatch(rows))

    def entries(self) -> tuple[Rows, Vectors]:
        """As ``Structure`` says; the vectors are a view."""
        return self._vectors.entries()
