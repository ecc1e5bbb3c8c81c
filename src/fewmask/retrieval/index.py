"""The pool as vectors: enter clips, take them out, find the nearest; on disk, safe against crashes."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from fewmask.errors import FewmaskError
from fewmask.media.given_path import given_path
from fewmask.retrieval import clip_rows, database, old_index
from fewmask.retrieval.clip_rows import ClipId, ClipRow, Vectors
from fewmask.retrieval.database import Database, Facts
from fewmask.retrieval.pool_view import Form, PoolView

Kind = Literal["auto", "exact", "compressed", "clustered"]


class ClipIndex:
    """Vectors by id, searched by cosine (eq. 3).

    Every ``add`` and ``remove`` is on disk when it returns, all of it or, of one that fails, nothing. Threads and
    processes may search while others add and remove; a search sees all of a change or nothing of it. Two that write at
    once wait for one another.

    Example:
        >>> index = ClipIndex.create("pool", dimension=3)
        >>> index.add(["a", "b"], [[1, 0, 0], [0, 1, 0]])
        >>> ids, scores = index.search([[0.9, 0.1, 0]], k=1)
        >>> ids.tolist()
        [['a']]
    """

    def __init__(self, folder: Path, facts: Facts | None) -> None:
        """Use ``open`` or ``create``."""
        self.folder = folder
        self.database = Database(folder)
        self._made = facts
        self._view: PoolView | None = None
        self._lock = threading.Lock()

    @classmethod
    def create(
        cls, path: str | Path, dimension: int, *, kind: Kind = "auto", about: dict[str, str] | None = None
    ) -> Self:
        """A new, empty index.

        Args:
            path: folder; made if missing, refused if not empty. Hidden files do not count.
            dimension: size of a vector, up to 65,536.
            kind: "auto" compares every vector while they take little memory (128 MiB); above, it looks at codes first
                and at the vectors of the most promising. "exact" and "compressed" hold to one; "clustered" is an older
                name of "compressed".
            about: free text kept with the index, such as the encoder that made the vectors.

        Raises:
            FewmaskError: the folder is not empty or cannot be written.
        """
        folder = given_path(path, "the folder of the index")
        if not _is_unused(folder) or Database(folder).facts() is not None:
            raise FewmaskError(f"{folder}: exists and is not empty; choose another folder, or open the index")
        if not 0 < dimension <= 1 << 16:
            raise FewmaskError(f"{folder}: a vector of {dimension} numbers cannot be indexed")
        index = cls(folder, None)
        with index.database.writing(database.new_facts(dimension, kind, about)):
            pass
        index._made = index.database.facts()
        return index

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The index in folder ``path``; a missing or empty folder is an index to which nothing was added yet.

        An index of before there was a database is read once and converted.

        Raises:
            FewmaskError: the folder holds something else, or the index is damaged.
        """
        folder = given_path(path, "the folder of the index")
        facts = Database(folder).facts()
        if old_index.is_one(folder):
            if facts is None:
                old_index.convert(folder)
                facts = Database(folder).facts()
            else:  # converted, and killed before it was tidied up
                old_index.sweep(folder)
        if facts is None and not _is_unused(folder):
            raise FewmaskError(f"{folder}: not a clip index; make one with `fewmask index VIDEO... --out INDEX`")
        if facts is not None:
            Database(folder).check()
        return cls(folder, facts)

    def __len__(self) -> int:
        facts = self._facts()
        return facts.clips if facts else 0

    def __contains__(self, clip_id: object) -> bool:
        if not isinstance(clip_id, str | int) or self._facts() is None:
            return False
        with self.database.reading() as connection:
            return bool(clip_rows.rows_of(connection, [clip_id]))

    @property
    def ids(self) -> list[ClipId]:
        """All ids, in the order in which they were added."""
        if self._facts() is None:
            return []
        with self.database.reading() as connection:
            return clip_rows.all_ids(connection)

    @property
    def dimension(self) -> int | None:
        """Size of a vector; None before the first ``add`` to an index that was opened empty."""
        facts = self._made or self._facts()
        return facts.dimension if facts else None

    @property
    def about(self) -> dict[str, str]:
        """What ``create`` was given to remember."""
        facts = self._made or self._facts()
        return dict(facts.about) if facts else {}

    @property
    def form(self) -> Form:
        """How it is searched now: every vector, or codes first and then the vectors of the most promising."""
        facts = self._facts()
        if facts is None:
            return "exact"
        with self.database.reading() as connection:
            return self._current(connection).form

    def search(self, vectors: npt.ArrayLike, k: int) -> tuple[npt.NDArray[Any], Vectors]:
        """The k nearest clips of each query by cosine, best first.

        Args:
            vectors: queries [B, D], any length above 0.
            k: how many, ≥ 1.

        Returns:
            ids [B, K] (int64 if all are numbers, else objects) and cosines float32 [B, K], K = min(k, len(self)).

        Raises:
            FewmaskError: the index is empty, or the vectors have another size, zero length or non-finite values.
        """
        if k < 1:
            raise FewmaskError(f"k is {k}; ask for at least one clip")
        queries = self._unit(vectors)
        if self._facts() is None:
            raise self._empty()
        with self.database.reading() as connection:
            view = self._current(connection)
            if not view.facts.clips:
                raise self._empty()
            scores, rows = view.nearest(connection, queries, min(k, view.facts.clips))
            clips = clip_rows.clips_at(connection, np.unique(rows).tolist())
        return _id_array([[clips[row][0] for row in line] for line in rows.tolist()], scores.shape), scores

    def add(self, ids: Sequence[ClipId], vectors: npt.ArrayLike) -> None:
        """Enter clips; an id that is there already gets the new vector.

        Args:
            ids: strings or integers below 2^63, each once.
            vectors: [len(ids), D], any length above 0.

        Raises:
            FewmaskError: an id twice, another type or size, zero or non-finite vectors, or a disk that is full.
        """
        names = [_plain_id(name) for name in ids]
        units = self._unit(vectors)
        if len(names) != len(units):
            raise FewmaskError(f"{self.folder}: {len(names)} ids for {len(units)} vectors; give one vector per id")
        if len(set(names)) < len(names):
            raise FewmaskError(f"{self.folder}: an id is given twice in one call; give each once")
        if not names:
            return
        with self.writing(units.shape[1]) as connection:
            clip_rows.enter(connection, [ClipRow(name, unit) for name, unit in zip(names, units, strict=True)])
        self.settle()

    def remove(self, ids: Sequence[ClipId]) -> int:
        """Take clips out; ids that are not there are passed over.

        Returns:
            how many were taken out
        """
        names = list(dict.fromkeys(map(_plain_id, ids)))
        if self._facts() is None or not names:
            return 0
        with self.writing() as connection:
            return clip_rows.take_out(connection, names)

    def vectors(self, ids: Sequence[ClipId]) -> Vectors:
        """The unit vectors of some clips, float32 [len(ids), D].

        Raises:
            FewmaskError: an id is not there.
        """
        facts = self._facts()
        if facts is None:
            if len(ids):
                raise FewmaskError(f"{self.folder}: holds no clip {ids[0]!r}")
            return np.empty((0, 0), np.float32)
        names = [_plain_id(name) for name in ids]
        with self.database.reading() as connection:
            rows = clip_rows.rows_of(connection, names)
            unknown = [name for name in names if name not in rows]
            if unknown:
                raise FewmaskError(f"{self.folder}: holds no clip {unknown[0]!r}")
            wanted = np.array([rows[name] for name in names], np.int64)
            found, stored = clip_rows.vectors_at(connection, wanted, facts.dimension)
        return np.asarray(stored[np.searchsorted(found, wanted)], np.float32)

    def compact(self) -> None:
        """Make the files small and the next search quick; anybody may go on reading and writing meanwhile."""
        if self._facts() is not None:
            self.settle()
            self.database.tidy()

    @contextmanager
    def writing(self, dimension: int | None = None, about: dict[str, str] | None = None) -> Iterator[Connection]:
        """A connection by which all that is written comes to count at once, or nothing; see `Database.writing`.

        Args:
            dimension: makes the index first if there is none yet.
            about: likewise, to be remembered.

        Raises:
            FewmaskError: it cannot be written, or another process has made it for vectors of another size.
        """
        fresh = database.new_facts(dimension, "auto", about) if dimension is not None and self._made is None else None
        if fresh is not None and not _is_unused(self.folder):
            raise FewmaskError(f"{self.folder}: exists and is not empty; choose another folder")
        with self.database.writing(fresh) as connection:
            if fresh is not None:
                made = database.read_facts(connection, self.database.path)
                if made is not None and made.dimension != dimension:
                    raise FewmaskError(
                        f"{self.folder}: vectors have shape [count, {dimension}]; expected {made.dimension}"
                    )
            yield connection
        if self._made is None:
            self._made = self._facts()

    def settle(self) -> None:
        """Give codes to vectors that have become too many to be compared one by one."""
        with self.database.reading() as connection:
            self._current(connection)

    def _facts(self) -> Facts | None:
        facts = self.database.facts()
        self._made = self._made or facts
        return facts

    def _current(self, connection: Connection) -> PoolView:
        """What is held in memory, brought to the state that ``connection`` sees."""
        with self._lock:
            self._view = PoolView.of(connection, self.folder, self._view)
            return self._view

    def _empty(self) -> FewmaskError:
        return FewmaskError(f"{self.folder}: holds no clips; add some with `fewmask index VIDEO... --out INDEX`")

    def _unit(self, vectors: npt.ArrayLike) -> Vectors:
        """Float32 rows of length 1."""
        values = np.ascontiguousarray(vectors, dtype=np.float32)
        dimension = self.dimension
        if values.ndim != 2 or values.shape[1] != (dimension or values.shape[1]):
            raise FewmaskError(
                f"{self.folder}: vectors have shape {list(values.shape)}; expected [count, {dimension or 'dimension'}]"
            )
        lengths = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64)).astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(wrong):
            raise FewmaskError(f"{self.folder}: vector {wrong[0]} is zero or not finite; it has no direction")
        return np.asarray(values / lengths[:, None], np.float32)


def _is_unused(folder: Path) -> bool:
    """Whether a pool may be made here: hidden files and what a crash before the first commit left do not count."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name.startswith((".", database.FILE)) for path in folder.iterdir())


def _plain_id(name: Any) -> ClipId:
    if isinstance(name, str):
        return name
    if isinstance(name, (int, np.integer)) and not isinstance(name, bool) and -(2**63) <= name < 2**63:
        return int(name)
    raise FewmaskError(f"{name!r} is no clip id; use a string or an integer below 2^63")


def _id_array(found: list[list[ClipId]], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if all(isinstance(name, int) for line in found for name in line):
        return np.array(found, np.int64).reshape(shape)
    array = np.empty(shape, object)
    for position, line in enumerate(found):
        array[position] = line
    return array
