"""Every stored vector is compared: right by definition, and fast enough up to about a million clips."""

from typing import Any, Literal, Protocol

import faiss
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


Form = Literal["exact", "clustered", "compressed"]


class Structure(Protocol):
    """Unit vectors under row numbers, and how the nearest of them are found.

    Attributes:
        form: which of the structures it is.
        effort: the one number that governs what a search misses: lists looked at, or entries compared exactly after a
            look at their codes; 0 where nothing is missed.
        built_with: entries when it was built, or when another structure was last tried in vain.
    """

    form: Form
    effort: int
    built_with: int

    @property
    def faiss_index(self) -> Any:
        """Everything that is kept on disk, as one faiss index."""

    def search(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Cosines and rows of the k nearest of each, best first; k is at most the number of entries."""

    def within_reach(self, vectors: Vectors, most: int) -> tuple[Vectors, Rows]:
        """The best of what a search for a few looks at, with this effort and no more.

        Returns:
            cosines and rows, [B, most], best first; −inf and row −1 where there are no more.
        """

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Enter unit vectors under new row numbers."""

    def remove(self, rows: Rows) -> None:
        """Take rows out."""

    def entries(self) -> tuple[Rows, Vectors]:
        """All rows and their unit vectors; not to be written to."""


class ExactScan:
    """All vectors in one array."""

    form: Form = "exact"
    effort = 0

    def __init__(self, faiss_index: Any, built_with: int = 0) -> None:
        self.faiss_index = faiss_index
        self.built_with = built_with

    @classmethod
    def empty(cls, dimension: int, built_with: int = 0) -> "ExactScan":
        """No entries yet."""
        return cls(faiss.IndexIDMap2(faiss.IndexFlatIP(dimension)), built_with)

    @classmethod
    def read(cls, faiss_index: Any, effort: int, built_with: int) -> "ExactScan":
        """What ``faiss_index`` gave to be kept.

        Raises:
            ValueError: it is something else.
        """
        if effort or not isinstance(faiss_index, faiss.IndexIDMap2):
            raise ValueError(f"a {type(faiss_index).__name__} in place of vectors")
        return cls(faiss_index, built_with)

    def __len__(self) -> int:
        return int(self.faiss_index.ntotal)

    def search(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """As ``Structure`` says."""
        scores, rows = self.faiss_index.search(vectors, k)
        return scores, rows

    def within_reach(self, vectors: Vectors, most: int) -> tuple[Vectors, Rows]:
        """As ``Structure`` says."""
        return self.search(vectors, most)

    def vectors_of(self, rows: Rows) -> Vectors:
        """The unit vectors of some rows, [len(rows), D]."""
        vectors: Vectors = self.faiss_index.reconstruct_batch(rows)
        return vectors

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """As ``Structure`` says."""
        self.faiss_index.add_with_ids(vectors, rows)

    def remove(self, rows: Rows) -> None:
        """As ``Structure`` says."""
        self.faiss_index.remove_ids(faiss.IDSelectorBatch(rows))

    def entries(self) -> tuple[Rows, Vectors]:
        """As ``Structure`` says; the vectors are a view."""
        count, dimension = len(self), int(self.faiss_index.d)
        flat: Any = faiss.downcast_index(self.faiss_index.index)
        stored = faiss.rev_swig_ptr(flat.get_xb(), count * dimension).reshape(count, dimension)
        return faiss.vector_to_array(self.faiss_index.id_map), stored
