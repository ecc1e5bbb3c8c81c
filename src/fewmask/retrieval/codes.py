"""Codes of two bits a dimension for every vector of a large pool: the cache that makes searching it quick.

The codes are a sixteenth of the vectors, and a processor compares 32 of them at once (product quantisation with 16
centres for every two dimensions, faiss's `IndexIVFPQFastScan`). All are looked at, so pools without clusters are
searched as well as others; the most promising are then compared exactly, by the vectors in the database. How many is
not guessed but measured on the pool itself.

The file beside the database can be thrown away at any time. It says whose it is, up to which row it reaches, and its
own checksum; one that is wrong is made anew. Rows that left the pool since are found out by the database, which has
them no more; rows that came since are compared exactly.
"""

import contextlib
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from fewmask.media.atomic import whole_file
from fewmask.retrieval.clip_rows import Rows, Vectors

FILE = "codes.faiss"
FOR_NEIGHBOURS = 6
"""Neighbours that ``effort`` is meant for, five and the query itself; a search for more compares more."""
TARGET_RECALL = 0.995
"""Share of its neighbours that a sample must find; above the 0.99 of five promised, since a sample errs."""
_MAGIC = b"fewmask codes 1\n"
_LONGEST_HEAD = 1000
TRAIN_WITH = 50_000
"""Vectors that the centres are learned from."""
_FEWEST_CANDIDATES = 32
_MOST_CANDIDATES = 4096
_SAMPLE = 256
_NEIGHBOURS = 10
_DEPTH = 50
_NEAR_COPY = 0.25
_SPARE_BYTES = 1 << 24

Chunks = Callable[[int], Iterator[tuple[Rows, Vectors]]]
"""All rows above one with their vectors, ascending, some thousands at a time."""


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of the rows up to ``covered``.

    Attributes:
        pool: name of the pool they were made of.
        covered: the last row among them.
        entries: how many rows they are, those that have left since included.
        effort: candidates that are compared exactly for ``FOR_NEIGHBOURS`` neighbours.
        built_with: entries when the centres were learned.
    """

    pool: str
    covered: int
    entries: int
    effort: int
    built_with: int
    _index: Any

    def candidates(self, queries: Vectors, count: int) -> list[Rows]:
        """The most promising rows of each query, at most ``count``, in no order."""
        _, rows = self._index.search(queries, min(count, self.entries))
        return [found[found >= 0] for found in rows]  # faiss leaves out what its rounded scores put at the very bottom

    def extended(self, chunks: Chunks) -> "Codes":
        """These and those of the rows that came since; these stay as they are."""
        index, covered = faiss.clone_index(self._index), self.covered
        for rows, vectors in chunks(self.covered):
            index.add_with_ids(vectors, rows)
            covered = int(rows[-1])
        return Codes(self.pool, covered, int(index.ntotal), self.effort, self.built_with, index)


def build(pool: str, some: Vectors, chunks: Chunks) -> Codes:
    """Codes of a whole pool, which is read once and never held.

    Args:
        pool: its name.
        some: vectors drawn from it at random, to learn the centres from.
        chunks: all of it.
    """
    dimension = some.shape[1]
    centre = faiss.IndexFlatIP(dimension)
    centre.add(np.zeros((1, dimension), np.float32))
    pieces = dimension // 2 if dimension % 2 == 0 else dimension
    # One list that holds everything: faiss's plain scan of codes numbers its rows itself.
    index = faiss.IndexIVFPQFastScan(centre, dimension, 1, pieces, 4, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.pq.cp.min_points_per_centroid = 1
    index.train(some[:TRAIN_WITH])
    sample, covered = _Sample(some[:_SAMPLE]), 0
    for rows, vectors in chunks(0):
        index.add_with_ids(vectors, rows)
        sample.see(rows, vectors)
        covered = int(rows[-1])
    entries = int(index.ntotal)
    return Codes(pool, covered, entries, sample.effort(index), entries, index)


def write(codes: Codes, folder: Path) -> None:
    """Keep the codes beside their pool.

    Raises:
        FewmaskError: the disk is full or the folder cannot be written.
    """
    body: bytes = faiss.serialize_index(codes._index).tobytes()
    facts = {
        "pool": codes.pool,
        "covered": codes.covered,
        "entries": codes.entries,
        "effort": codes.effort,
        "built_with": codes.built_with,
        "bytes": len(body),
    }
    head = json.dumps(facts).encode()
    seal = zlib.crc32(body, zlib.crc32(head))
    with whole_file(folder / FILE) as temporary, temporary.open("wb") as handle:
        handle.write(_MAGIC + f"{seal:08x} {len(head)}\n".encode() + head)
        handle.write(body)


def read(folder: Path, pool: str, dimension: int) -> Codes | None:
    """The codes beside a pool; None if there are none, or they are damaged, or another pool's."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError):
        with (folder / FILE).open("rb") as handle:
            if handle.read(len(_MAGIC)) != _MAGIC:
                return None
            seal, length = handle.readline(32).split()
            head = handle.read(min(int(length), _LONGEST_HEAD))
            facts = json.loads(head)
            entries, size = int(facts["entries"]), int(facts["bytes"])
            # Before that many bytes are read: a code has at most half a byte a dimension, a row number eight.
            if facts["pool"] != pool or not 0 < size <= entries * (dimension // 2 + 1 + 8) * 2 + _SPARE_BYTES:
                return None
            body = handle.read(size + 1)
        if len(body) != size or zlib.crc32(body, zlib.crc32(head)) != int(seal, 16):
            return None
        index = _deserialised(body)
        if not isinstance(index, faiss.IndexIVFPQFastScan) or index.d != dimension or index.ntotal != entries:
            return None
        return Codes(pool, int(facts["covered"]), entries, int(facts["effort"]), int(facts["built_with"]), index)
    return None


def _deserialised(body: bytes) -> Any:
    """A faiss index that may claim no more memory than its own bytes call for."""
    if hasattr(faiss, "set_deserialization_vector_byte_limit"):
        faiss.set_deserialization_vector_byte_limit(4 * len(body) + _SPARE_BYTES)
    return faiss.deserialize_index(np.frombuffer(body, np.uint8))


class _Sample:
    """Some entries with their true neighbours, in the place of queries to come.

    Near-copies of an entry, as other clips of its video, are no measure: a query from elsewhere has none, and finding
    them is easy. They are passed over: all that are four times nearer than the entry's 50th neighbour.
    """

    def __init__(self, queries: Vectors) -> None:
        self._queries = queries
        self._scores = np.full((len(queries), 0), 0, np.float32)
        self._rows = np.full((len(queries), 0), 0, np.int64)

    def see(self, rows: Rows, vectors: Vectors) -> None:
        """Compare with some entries; the nearest so far are kept."""
        scores = np.hstack([self._scores, self._queries @ vectors.T])
        names = np.hstack([self._rows, np.broadcast_to(rows, (len(self._queries), len(rows)))])
        best = np.argsort(-scores, axis=1)[:, :_DEPTH] if scores.shape[1] <= _DEPTH else _top(scores, _DEPTH)
        self._scores, self._rows = np.take_along_axis(scores, best, 1), np.take_along_axis(names, best, 1)

    def effort(self, index: Any) -> int:
        """Fewest candidates among which ``TARGET_RECALL`` of the ten neighbours of each are."""
        if not self._rows.shape[1]:
            return _FEWEST_CANDIDATES
        copies = (1 - self._scores < _NEAR_COPY * (1 - self._scores[:, -1:])).sum(1)
        skipped = np.clip(copies, 1, max(1, self._rows.shape[1] - _NEIGHBOURS))  # at least itself
        _, promising = index.search(self._queries, min(_MOST_CANDIDATES, int(index.ntotal)))
        places = []
        for found, truth, first in zip(promising, self._rows, skipped, strict=True):
            order = {int(row): place for place, row in enumerate(found)}
            places += [order.get(int(row), len(found)) for row in truth[first : first + _NEIGHBOURS]]
        if not places:
            return _FEWEST_CANDIDATES
        return max(_FEWEST_CANDIDATES, int(np.quantile(places, TARGET_RECALL, method="higher")) + 1)


def _top(scores: Vectors, count: int) -> Rows:
    """Columns of the ``count`` highest of each row, best first."""
    chosen = np.argpartition(-scores, count, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, chosen, 1), axis=1)
    return np.asarray(np.take_along_axis(chosen, order, 1), np.int64)
