"""The pool as vectors: enter clips, take them out, find the nearest; on disk, safe against crashes."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.errors import FewmaskError
from fewmask.selfshot import index_store, nearest
from fewmask.selfshot.exact_scan import ExactScan, Structure, Vectors
from fewmask.selfshot.index_store import Change, ClipId, Manifest
from fewmask.selfshot.nearest import Form, Kind

_OPEN_ATTEMPTS = 5  # a writer may replace the files between reading the manifest and reading them
_JOURNAL_FILES = 200
_JOURNAL_SHARE = 0.25
_JOURNAL_ROWS = 20_000


class ClipIndex:
    """Vectors by id, searched by cosine (eq. 3).

    Every ``add`` and ``remove`` is on disk when it returns. Threads may search while others add and remove; a search
    sees all of a change or nothing of it. Several processes may read; one should write (a second writer is told to open
    the index again).

    Example:
        >>> index = ClipIndex.create("pool", dimension=3)
        >>> index.add(["a", "b"], [[1, 0, 0], [0, 1, 0]])
        >>> ids, scores = index.search([[0.9, 0.1, 0]], k=1)
        >>> ids.tolist()
        [['a']]
    """

    def __init__(self, folder: Path, manifest: Manifest | None) -> None:
        """Use ``open`` or ``create``."""
        self.folder = folder
        self._manifest = manifest
        self._gate = _ReadersWriter()
        self._ids: dict[int, ClipId] = {}
        self._rows: dict[ClipId, int] = {}
        self._next_row = 0
        self._journal_rows = 0
        self._structure: Structure | None = None
        if manifest is not None:
            self._load(manifest)

    @classmethod
    def create(
        cls, path: str | Path, dimension: int, *, kind: Kind = "auto", about: dict[str, str] | None = None
    ) -> "ClipIndex":
        """A new, empty index.

        Args:
            path: folder; made if missing, refused if not empty.
            dimension: size of a vector.
            kind: "auto" scans exactly up to about a million clips; above, it looks at the nearest lists where the pool
                has clusters, and at compressed codes where it has none. The others hold to one.
            about: free text kept with the index, such as the encoder that made the vectors.

        Raises:
            FewmaskError: the folder is not empty or cannot be written.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FewmaskError(f"{folder}: exists and is not empty; choose another folder, or open the index")
        if dimension < 1:
            raise FewmaskError(f"{folder}: a vector of {dimension} numbers cannot be indexed")
        return cls(folder, index_store.create(folder, Manifest(dimension, kind, about=about or {})))

    @classmethod
    def open(cls, path: str | Path) -> "ClipIndex":
        """The index in folder ``path``; a missing or empty folder is an index to which nothing was added yet.

        Raises:
            FewmaskError: the folder holds something else, or the index is damaged.
        """
        folder = Path(path)
        for _ in range(_OPEN_ATTEMPTS):
            manifest = index_store.read_manifest(folder)
            if manifest is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise FewmaskError(f"{folder}: not a clip index; make one with `fewmask index VIDEO... --out INDEX`")
            try:
                return cls(folder, manifest)
            except FileNotFoundError as error:
                missing = error
        raise FewmaskError(f"{missing.filename or folder}: missing; build the index again with `fewmask index`")

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._rows

    @property
    def ids(self) -> list[ClipId]:
        """All ids, in the order in which they were added."""
        with self._gate.reading():
            return list(self._rows)

    @property
    def dimension(self) -> int | None:
        """Size of a vector; None before the first ``add`` to an index that was opened empty."""
        return self._manifest.dimension if self._manifest else None

    @property
    def about(self) -> dict[str, str]:
        """What ``create`` was given to remember."""
        return dict(self._manifest.about) if self._manifest else {}

    @property
    def form(self) -> Form:
        """How it is searched now: every vector, the most promising lists, or codes first and then the vectors."""
        return "exact" if self._structure is None else nearest.form(self._structure)

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
        with self._gate.reading():
            if self._structure is None or not self._rows:
                raise FewmaskError(f"{self.folder}: holds no clips; add some with `fewmask index VIDEO... --out INDEX`")
            scores, rows = self._structure.search(queries, min(k, len(self._rows)))
            found = [[self._ids[row] for row in line] for line in rows.tolist()]
        return _id_array(found), scores

    def add(self, ids: Sequence[ClipId], vectors: npt.ArrayLike) -> None:
        """Enter clips; an id that is there already gets the new vector.

        Args:
            ids: strings or integers, each once.
            vectors: [len(ids), D], any length above 0.

        Raises:
            FewmaskError: an id twice, another type or size, zero or non-finite vectors, or a disk that is full.
        """
        names = [_plain_id(name) for name in ids]
        units = self._unit(vectors, any_dimension=self._manifest is None)
        if len(names) != len(units):
            raise FewmaskError(f"{self.folder}: {len(names)} ids for {len(units)} vectors; give one vector per id")
        if len(set(names)) < len(names):
            raise FewmaskError(f"{self.folder}: an id is given twice in one call; give each once")
        if names:
            self._apply(Change([name for name in names if name in self._rows], names, units))

    def remove(self, ids: Sequence[ClipId]) -> int:
        """Take clips out; ids that are not there are passed over.

        Returns:
            how many were taken out
        """
        present = list(dict.fromkeys(name for name in map(_plain_id, ids) if name in self._rows))
        if present:
            self._apply(Change(present, [], np.empty((0, self.dimension or 0), np.float32)))
        return len(present)

    def vectors(self, ids: Sequence[ClipId]) -> Vectors:
        """The unit vectors of some clips, float32 [len(ids), D]; reads the whole index, so ask for many at once.

        Raises:
            FewmaskError: an id is not there.
        """
        unknown = next((name for name in ids if name not in self._rows), None)
        if unknown is not None or self._structure is None:
            raise FewmaskError(f"{self.folder}: holds no clip {unknown!r}")
        with self._gate.reading():
            rows, stored = self._structure.entries()
            place = {int(row): position for position, row in enumerate(rows)}
            return stored[[place[self._rows[name]] for name in ids]].copy()

    def compact(self) -> None:
        """Fold the journal into one checkpoint, so that the next ``open`` is quick."""
        with self._gate.writing():
            if self._manifest is not None and self._structure is not None and self._manifest.journal:
                self._checkpoint(self._manifest)

    def _apply(self, change: Change) -> None:
        with self._gate.writing():
            manifest = self._manifest
            if manifest is None:
                manifest = index_store.create(self.folder, Manifest(change.vectors.shape[1], "auto"))
                self._manifest, self._structure = manifest, ExactScan.empty(manifest.dimension)
            rows = self._journal_rows + len(change.added) + len(change.removed)
            if self._fits_journal(manifest, rows, len(self._rows) + len(change.added) - len(change.removed)):
                # On disk before in memory: if the write fails, neither has changed.
                self._manifest = index_store.write_change(self.folder, manifest, change)
                self._enter(change)
                return
            self._enter(change)
            try:
                self._checkpoint(manifest)
            except BaseException:
                self._load(manifest)
                raise

    def _fits_journal(self, manifest: Manifest, journal_rows: int, count: int) -> bool:
        """Whether a change is better appended than followed by writing everything anew."""
        assert self._structure is not None
        settled = max(_JOURNAL_ROWS, _JOURNAL_SHARE * (len(self._rows) - self._journal_rows))
        few = journal_rows <= settled and len(manifest.journal) < _JOURNAL_FILES
        return few and not nearest.outgrown(self._structure, count, manifest.kind)

    def _checkpoint(self, manifest: Manifest) -> None:
        assert self._structure is not None
        if nearest.outgrown(self._structure, len(self._ids), manifest.kind):
            self._structure = nearest.rebuilt(self._structure, manifest.kind)
        self._manifest = index_store.write_checkpoint(self.folder, manifest, self._structure, self._ids)
        self._journal_rows = 0

    def _enter(self, change: Change) -> None:
        """Apply ``change`` in memory."""
        assert self._structure is not None
        if change.removed:
            gone = np.array([self._rows.pop(name) for name in change.removed], np.int64)
            for row in gone.tolist():
                del self._ids[row]
            self._structure.remove(gone)
        if change.added:
            rows = np.arange(self._next_row, self._next_row + len(change.added), dtype=np.int64)
            self._structure.add(rows, change.vectors)
            for row, name in zip(rows.tolist(), change.added, strict=True):
                self._ids[row] = name
                self._rows[name] = row
            self._next_row += len(rows)
        self._journal_rows += len(change.added) + len(change.removed)

    def _load(self, manifest: Manifest) -> None:
        self._ids, self._structure = {}, ExactScan.empty(manifest.dimension, manifest.built_with)
        if manifest.checkpoint:
            self._structure, self._ids = index_store.read_checkpoint(self.folder, manifest)
        self._rows = {name: row for row, name in self._ids.items()}
        self._next_row = max(self._ids, default=-1) + 1
        self._journal_rows = 0
        for change in index_store.read_journal(self.folder, manifest):
            self._enter(change)
        self._manifest = replace(manifest)

    def _unit(self, vectors: npt.ArrayLike, *, any_dimension: bool = False) -> Vectors:
        """Float32 rows of length 1."""
        values = np.ascontiguousarray(vectors, dtype=np.float32)
        dimension = self.dimension
        if values.ndim != 2 or not (any_dimension or dimension is None or values.shape[1] == dimension):
            raise FewmaskError(
                f"{self.folder}: vectors have shape {list(values.shape)}; expected [count, {dimension or 'dimension'}]"
            )
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        wrong = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
        if len(wrong):
            raise FewmaskError(f"{self.folder}: vector {wrong[0]} is zero or not finite; it has no direction")
        units: Vectors = values / lengths
        return units


class _ReadersWriter:
    """Many readers or one writer."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers = 0
        self._writer = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._writer, self._condition:  # a waiting writer holds back new readers, so it is never starved
            self._readers += 1
        try:
            yield
        finally:
            with self._condition:
                self._readers -= 1
                self._condition.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._writer:
            with self._condition:
                self._condition.wait_for(lambda: self._readers == 0)
            yield


def _plain_id(name: Any) -> ClipId:
    if isinstance(name, str):
        return name
    if isinstance(name, (int, np.integer)) and not isinstance(name, bool):
        return int(name)
    raise FewmaskError(f"{name!r} is no clip id; use a string or an integer")


def _id_array(found: list[list[ClipId]]) -> npt.NDArray[Any]:
    if all(isinstance(name, int) for line in found for name in line):
        return np.array(found, np.int64)
    array = np.empty((len(found), len(found[0]) if found else 0), object)
    for position, line in enumerate(found):
        array[position] = line
    return array
