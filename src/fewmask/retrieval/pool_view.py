"""One state of the pool as it is searched: some vectors in memory, codes for the rest.

A small pool's vectors are all in memory and compared one by one, which is right by definition. Of a large pool there
are codes; only vectors that came after them are in memory. A view never changes: the next state of the pool gets
another, which shares what is the same.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection
from typing import Literal

import faiss
import numpy as np

from fewmask.errors import FewmaskError
from fewmask.retrieval import clip_rows, codes, database
from fewmask.retrieval.clip_rows import Rows, Vectors
from fewmask.retrieval.codes import Codes
from fewmask.retrieval.database import Facts

Form = Literal["exact", "compressed"]

EXACT_BYTES = 1 << 27
"""Vectors up to here are held in memory and compared one by one; a larger pool gets codes."""
_TAIL_BYTES = 1 << 25  # the same of vectors that came after the codes
_GONE_SHARE = 0.25  # of the codes' rows have left the pool: they are made anew
_OUTGROWN = 4  # times as many as their centres were learned from: likewise
_CODES_FROM = 256
_SCAN_SHARE = 0.05  # fetching more of the pool than this one by one is no faster than reading all in order
_AT_ONCE = 16_384


@dataclass(frozen=True, eq=False)
class PoolView:
    """What is in memory of one state.

    Attributes:
        facts: the pool as a whole.
        codes: of all rows up to ``codes.covered``; None where all vectors are in memory.
        rows: those whose vectors are in memory, ascending, int64 [N].
        vectors: unit vectors, float32 [N, D].
    """

    facts: Facts
    codes: Codes | None
    rows: Rows
    vectors: Vectors

    @classmethod
    def of(cls, connection: Connection, folder: Path, before: "PoolView | None") -> "PoolView":
        """The state that ``connection`` sees.

        Vectors that have become too many for memory get codes here, which are kept in the folder if it can be written.

        Args:
            connection: reads one state of the pool.
            folder: of the pool.
            before: an earlier or later state, to share what is the same.
        """
        facts = database.read_facts(connection, folder / database.FILE)
        if facts is None:
            raise FewmaskError(f"{folder}: the index was deleted while it was in use; open it again")
        if before is not None and before.facts == facts:
            return before
        if before is None or before.facts.name != facts.name:
            before = cls._empty(facts, cls._kept_codes(folder, facts))
        view = before._brought_to(facts, connection)
        if view._wants_codes():
            # Another process may have made them meanwhile.
            view = cls._empty(facts, cls._kept_codes(folder, facts))._brought_to(facts, connection)
        if view._wants_codes():
            view = view._with_codes(connection)
            if view.codes is not None:
                with contextlib.suppress(FewmaskError):  # a disk that is full or read-only costs time, no more
                    codes.write(view.codes, folder)
        return view

    @property
    def form(self) -> Form:
        """How it is searched."""
        return "exact" if self.codes is None else "compressed"

    def nearest(self, connection: Connection, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Cosines and rows of the k nearest of each query, best first; k is at most the number of clips.

        Args:
            connection: the one that the view is of.
            queries: unit vectors [B, D].
            k: how many.
        """
        best = _Best(queries, k)
        coded = self.facts.clips - len(self.rows)
        if self.codes is None or coded == 0:
            best.see(self.rows, self.vectors)
            return best.scores, best.rows
        candidates = self.codes.effort * -(-k // codes.FOR_NEIGHBOURS) * self.codes.entries // coded
        few = candidates < coded and (k <= codes.FOR_NEIGHBOURS or candidates < _SCAN_SHARE * coded)
        if few:
            best.see(self.rows, self.vectors)
            promising = self.codes.candidates(queries, candidates)
            stored, vectors = clip_rows.vectors_at(connection, np.concatenate(promising), self.facts.dimension)
            best.see_each(promising, stored, vectors)
        if not few or (best.rows < 0).any():
            best = _Best(queries, k)
            for rows, vectors in self._chunks(connection, 0):
                best.see(rows, vectors)
        return best.scores, best.rows

    @staticmethod
    def _kept_codes(folder: Path, facts: Facts) -> Codes | None:
        return None if facts.kind == "exact" else codes.read(folder, facts.name, facts.dimension)

    @classmethod
    def _empty(cls, facts: Facts, made: Codes | None) -> "PoolView":
        nothing = np.empty((0, facts.dimension), np.float32)
        return cls(replace(facts, changes=-1), made, np.empty(0, np.int64), nothing)

    def _brought_to(self, facts: Facts, connection: Connection) -> "PoolView":
        """The same with what came, without what left."""
        there = clip_rows.vector_rows(connection, self.codes.covered if self.codes else 0)
        stays = np.isin(self.rows, there, assume_unique=True)
        kept, vectors = self.rows[stays], self.vectors[stays]
        new = np.setdiff1d(there, kept, assume_unique=True)
        if len(new):
            rows, fresh = clip_rows.vectors_at(connection, new, facts.dimension)
            kept, vectors = np.concatenate([kept, rows]), np.concatenate([vectors, fresh])
            if not stays.all() or kept[len(kept) - len(rows) - 1] > rows[0]:  # an earlier state than before
                order = np.argsort(kept)
                kept, vectors = kept[order], vectors[order]
        return PoolView(facts, self.codes, kept, vectors)

    def _wants_codes(self) -> bool:
        """Whether these call for codes, or for others."""
        if self.codes is None:
            large = self.vectors.nbytes > EXACT_BYTES or self.facts.kind in {"compressed", "clustered"}
            return large and self.facts.kind != "exact" and len(self.rows) >= _CODES_FROM
        return self.vectors.nbytes > _TAIL_BYTES or self._outgrown()

    def _outgrown(self) -> bool:
        if self.codes is None:
            return True
        coded = self.facts.clips - len(self.rows)
        return self.facts.clips > _OUTGROWN * self.codes.built_with or coded < (1 - _GONE_SHARE) * self.codes.entries

    def _with_codes(self, connection: Connection) -> "PoolView":
        def chunks(above: int) -> Iterator[tuple[Rows, Vectors]]:
            return self._chunks(connection, above)

        if self.facts.clips < _CODES_FROM:
            return self._empty(self.facts, None)._brought_to(self.facts, connection)
        if self.codes is not None and not self._outgrown():
            made = self.codes.extended(chunks)
        else:
            rows = clip_rows.vector_rows(connection)
            count = min(codes.TRAIN_WITH, len(rows))
            drawn = np.random.default_rng(0).choice(len(rows), count, replace=False)
            some = clip_rows.vectors_at(connection, rows[drawn], self.facts.dimension)[1]
            made = codes.build(self.facts.name, np.random.default_rng(0).permutation(some), chunks)
        return self._empty(self.facts, made)._brought_to(self.facts, connection)

    def _chunks(self, connection: Connection, above: int) -> Iterator[tuple[Rows, Vectors]]:
        return clip_rows.vectors_above(connection, above, self.facts.dimension, _AT_ONCE)


class _Best:
    """The k best so far for each of some queries.

    Attributes:
        scores: cosines [B, k], best first; −inf where there are fewer.
        rows: of them; −1 where there are fewer.
    """

    def __init__(self, queries: Vectors, k: int) -> None:
        self._queries, self._k = queries, k
        self.scores = np.full((len(queries), k), -np.inf, np.float32)
        self.rows = np.full((len(queries), k), -1, np.int64)

    def see(self, rows: Rows, vectors: Vectors) -> None:
        """Compare all queries with some more entries."""
        if len(rows):
            count = min(self._k, len(rows))
            scores, places = faiss.knn(self._queries, vectors, count, metric=faiss.METRIC_INNER_PRODUCT)
            for number in range(len(self._queries)):
                self._merge(number, scores[number], rows[places[number]])

    def see_each(self, promising: list[Rows], rows: Rows, vectors: Vectors) -> None:
        """Compare each query with the entries that are promising for it.

        Args:
            promising: rows for each query; those that are not among ``rows`` have left the pool.
            rows: ascending.
            vectors: theirs.
        """
        for number, wanted in enumerate(promising):
            places = np.searchsorted(rows, wanted)
            there = places[(places < len(rows))]
            there = there[rows[there] == wanted[places < len(rows)]]
            self._merge(number, vectors[there] @ self._queries[number], rows[there])

    def _merge(self, number: int, scores: Vectors, rows: Rows) -> None:
        both, names = np.concatenate([self.scores[number], scores]), np.concatenate([self.rows[number], rows])
        order = np.argsort(-both, kind="stable")[: self._k]
        self.scores[number], self.rows[number] = both[order], names[order]
