"""The pool as vectors: enter clips, take them out, find the nearest; on disk, safe against crashes."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.errors import FewmaskError
from fewmask.media.given_path import given_path
from fewmask.retrieval import index_store, nearest
from fewmask.retrieval.exact_scan import ExactScan, Form, Structure, Vectors
from fewmask.retrieval.index_store import Change, ClipId, Manifest
from fewmask.retrieval.nearest import Kind

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
        self._gate = _ReadersWriter()
        self._contents = _Contents.load(folder, manifest) if manifest is not None else None

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
        folder = given_path(path, "the folder of the index")
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
        folder = given_path(path, "the folder of the index")
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
        return len(self._contents.rows) if self._contents else 0

    def __contains__(self, clip_id: object) -> bool:
        return self._contents is not None and clip_id in self._contents.rows

    @property
    def ids(self) -> list[ClipId]:
        """All ids, in the order in which they were added."""
        with self._gate.reading():
            return list(self._contents.rows) if self._contents else []

    @property
    def dimension(self) -> int | None:
        """Size of a vector; None before the first ``add`` to an index that was opened empty."""
        return self._contents.manifest.dimension if self._contents else None

    @property
    def about(self) -> dict[str, str]:
        """What ``create`` was given to remember."""
        return dict(self._contents.manifest.about) if self._contents else {}

    @property
    def form(self) -> Form:
        """How it is searched now: every vector, the most promising lists, or codes first and then the vectors."""
        return self._contents.structure.form if self._contents else "exact"

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
            held = self._contents
            if held is None or not held.rows:
                raise FewmaskError(f"{self.folder}: holds no clips; add some with `fewmask index VIDEO... --out INDEX`")
            scores, rows = held.structure.search(queries, min(k, len(held.rows)))
            found = [[held.ids[row] for row in line] for line in rows.tolist()]
        return _id_array(found, scores.shape), scores

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
        with self._gate.writing():
            if self._contents is None:
                manifest = index_store.create(self.folder, Manifest(units.shape[1], "auto"))
                self._contents = _Contents.load(self.folder, manifest)
            self._require_dimension(units)  # another thread may have been first
            self._apply(self._contents, Change([name for name in names if name in self._contents.rows], names, units))

    def remove(self, ids: Sequence[ClipId]) -> int:
        """Take clips out; ids that are not there are passed over.

        Returns:
            how many were taken out
        """
        names = dict.fromkeys(map(_plain_id, ids))
        with self._gate.writing():
            held = self._contents
            present = [name for name in names if held is not None and name in held.rows]
            if held is not None and present:
                self._apply(held, Change(present, [], np.empty((0, held.manifest.dimension), np.float32)))
        return len(present)

    def vectors(self, ids: Sequence[ClipId]) -> Vectors:
        """The unit vectors of some clips, float32 [len(ids), D]; reads the whole index, so ask for many at once.

        Raises:
            FewmaskError: an id is not there.
        """
        with self._gate.reading():
            held = self._contents
            unknown = [name for name in ids if held is None or name not in held.rows]
            if unknown:
                raise FewmaskError(f"{self.folder}: holds no clip {unknown[0]!r}")
            if held is None:
                return np.empty((0, 0), np.float32)
            rows, stored = held.structure.entries()
            place = {int(row): position for position, row in enumerate(rows)}
            chosen: Vectors = stored[[place[held.rows[name]] for name in ids]]
            return chosen

    def compact(self) -> None:
        """Fold the journal into one checkpoint, so that the next ``open`` is quick."""
        with self._gate.writing():
            held = self._contents
            if held is not None and held.manifest.journal:
                index_store.require_unchanged(self.folder, held.manifest)
                self._checkpoint(held)

    def _apply(self, held: "_Contents", change: Change) -> None:
        """Make a change; the caller holds the gate. What fails leaves memory as the disk is, before it or after it."""
        index_store.require_unchanged(self.folder, held.manifest)
        try:
            if held.fits_journal(change):
                held.manifest = index_store.write_change(self.folder, held.manifest, change)
                held.enter(change)
            else:
                held.enter(change)
                self._checkpoint(held)
        except BaseException:
            with suppress(FewmaskError, OSError):  # what went wrong first is what is told
                current = index_store.read_manifest(self.folder)
                self._contents = _Contents.load(self.folder, current) if current else None
            raise

    def _checkpoint(self, held: "_Contents") -> None:
        if nearest.outgrown(held.structure, len(held.ids), held.manifest.kind):
            held.structure = nearest.rebuilt(held.structure, held.manifest.kind)
        held.manifest = index_store.write_checkpoint(self.folder, held.manifest, held.structure, held.ids)
        held.journal_rows = 0
        index_store.sweep(self.folder, held.manifest)

    def _unit(self, vectors: npt.ArrayLike) -> Vectors:
        """Float32 rows of length 1."""
        values = np.ascontiguousarray(vectors, dtype=np.float32)
        self._require_dimension(values)
        lengths = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64)).astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(wrong):
            raise FewmaskError(f"{self.folder}: vector {wrong[0]} is zero or not finite; it has no direction")
        units: Vectors = values / lengths[:, None]
        return units

    def _require_dimension(self, values: Vectors) -> None:
        dimension = self.dimension
        if values.ndim != 2 or values.shape[1] != (dimension or values.shape[1]):
            raise FewmaskError(
                f"{self.folder}: vectors have shape {list(values.shape)}; expected [count, {dimension or 'dimension'}]"
            )


@dataclass
class _Contents:
    """What is held in memory of an index on disk.

    Attributes:
        manifest: the one in force.
        structure: the vectors, by row.
        ids: by row.
        rows: by id.
        next_row: the next new entry's.
        journal_rows: entries and removals since the checkpoint.
    """

    manifest: Manifest
    structure: Structure
    ids: dict[int, ClipId]
    rows: dict[ClipId, int]
    next_row: int
    journal_rows: int = 0

    @classmethod
    def load(cls, folder: Path, manifest: Manifest) -> "_Contents":
        structure: Structure = ExactScan.empty(manifest.dimension, manifest.built_with)
        ids: dict[int, ClipId] = {}
        if manifest.checkpoint:
            structure, ids = index_store.read_checkpoint(folder, manifest)
        held = cls(manifest, structure, ids, {name: row for row, name in ids.items()}, max(ids, default=-1) + 1)
        for change in index_store.read_journal(folder, manifest):
            held.enter(change)
        return held

    def fits_journal(self, change: Change) -> bool:
        """Whether a change is better appended than followed by writing everything anew."""
        count = len(self.rows) + len(change.added) - len(change.removed)
        rows = self.journal_rows + len(change.added) + len(change.removed)
        settled = max(_JOURNAL_ROWS, _JOURNAL_SHARE * (len(self.rows) - self.journal_rows))
        few = rows <= settled and len(self.manifest.journal) < _JOURNAL_FILES
        return few and not nearest.outgrown(self.structure, count, self.manifest.kind)

    def enter(self, change: Change) -> None:
        """Apply a change."""
        if change.removed:
            gone = np.array([self.rows.pop(name) for name in change.removed], np.int64)
            for row in gone.tolist():
                del self.ids[row]
            self.structure.remove(gone)
        if change.added:
            rows = np.arange(self.next_row, self.next_row + len(change.added), dtype=np.int64)
            self.structure.add(rows, change.vectors)
            for row, name in zip(rows.tolist(), change.added, strict=True):
                self.ids[row] = name
                self.rows[name] = row
            self.next_row += len(rows)
        self.journal_rows += len(change.added) + len(change.removed)


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
