"""The pool's tables in one SQLite file: the only truth about its videos, clips and vectors.

    pool     one row: size of a vector, what made them, how many changes there were and how many clips there are
    videos   one row a video: what it was when it was embedded, and what became of it
    clips    one row a clip: its id, video and frames, and what it looks like
    vectors  one row a clip: its unit vector

SQLite keeps what was committed through a crash at any write, lets others read while one writes, and makes writers wait
for one another (WAL, synchronous). A row of clips or vectors never changes; its number is never given twice. Bits that
rot inside a row are found by its seal, a CRC-32.
"""

import json
import os
import sqlite3
import uuid
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.errors import FewmaskError
from fewmask.media.clip_place import ClipPlace

FILE = "pool.sqlite"
ClipId = str | int
Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

_APPLICATION = 0x66776D6B
_FORMAT = 2
_WAIT_S = 60
_CHECKED_WHOLE_BELOW = 1 << 24
"""Bytes of a file that is checked from end to end when it is opened; of a larger one only what is read is checked."""
_AT_ONCE = 500  # parameters of one statement
_LARGEST_DIMENSION = 1 << 16
_TABLES = {"pool", "videos", "clips", "vectors"}
_SCHEMA = """
CREATE TABLE pool (
    one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, dimension INTEGER NOT NULL, kind TEXT NOT NULL,
    about TEXT NOT NULL, changes INTEGER NOT NULL, clips INTEGER NOT NULL
);
CREATE TABLE videos (name PRIMARY KEY NOT NULL, record TEXT NOT NULL, seal INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE clips (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id NOT NULL UNIQUE, video, first INTEGER, last INTEGER, looks BLOB,
    seal INTEGER NOT NULL
);
CREATE INDEX clips_of_video ON clips (video);
CREATE TABLE vectors (row INTEGER PRIMARY KEY, vector BLOB NOT NULL, seal INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Facts:
    """The pool as a whole.

    Attributes:
        name: random, given once; tells whose a cache is.
        dimension: size of a vector.
        kind: how the owner wants it searched.
        about: what the owner wants to remember of the vectors, such as the encoder's name.
        changes: commits so far.
        clips: how many there are.
    """

    name: str
    dimension: int
    kind: str
    about: dict[str, str]
    changes: int = 0
    clips: int = 0


@dataclass(frozen=True, eq=False)
class ClipRow:
    """A clip to be entered.

    Attributes:
        id: its name, `ClipPlace.id` of clips of videos; a clip of that name that is there already makes room for it.
        vector: of length 1, float32 [D].
        looks: what its pictures look like (`looks.Looks`); None if unknown.
    """

    id: ClipId
    vector: Vectors
    looks: bytes | None = None


class Database:
    """The file in a folder. Every reading and every writing has a connection of its own, kept for the next one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE
        self._idle: list[_Kept] = []
        weakref.finalize(self, _close, self._idle)

    def facts(self) -> Facts | None:
        """The pool as a whole; None if there is none yet, as after a crash before the first commit.

        Raises:
            FewmaskError: the file is damaged or something else.
        """
        if not self.path.exists() or not self.path.stat().st_size:
            return None
        with self.reading() as connection:
            return read_facts(connection, self.path)

    def check(self) -> None:
        """Read a small file from end to end, the indices of its tables included.

        Raises:
            FewmaskError: it is damaged.
        """
        if self.path.stat().st_size < _CHECKED_WHOLE_BELOW:
            with self.reading() as connection:
                (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError(verdict)
                if read_facts(connection, self.path) is not None:
                    for names in _in_pieces(all_ids(connection)):
                        rows_of(connection, names, whole=True)
                    all_videos(connection)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """All reads of the block see one state of the pool, whatever others write meanwhile.

        Raises:
            FewmaskError: the file cannot be read or is damaged.
        """
        with self._open("rw" if os.access(self.folder, os.W_OK) else "ro") as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def writing(self, fresh: Facts | None = None) -> Iterator[sqlite3.Connection]:
        """What the block writes is on disk when it ends, all of it; of a block that fails, nothing is.

        Args:
            fresh: makes the pool first where there is none.

        Raises:
            FewmaskError: the disk is full, the file cannot be written, or it is damaged.
        """
        if fresh is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FewmaskError(f"{self.folder}: cannot be made ({error.strerror or error})") from error
        with self._open("rwc" if fresh is not None else "rw") as connection:
            if fresh is not None:
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            if fresh is not None and read_facts(connection, self.path) is None:
                _create(connection, fresh)
            yield connection
            connection.execute("UPDATE pool SET changes = changes + 1")
            connection.execute("COMMIT")

    def tidy(self) -> None:
        """Give back the room of much that was taken out, and fold the log into the file; needs to be alone."""
        with self._open("rw") as connection:
            (free,), (pages,) = (
                connection.execute(f"PRAGMA {what}").fetchone() for what in ("freelist_count", "page_count")
            )
            if free > pages // 4:
                connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        """A connection; what the block began and did not commit is undone."""
        try:
            kept = self._taken(mode)
            try:
                yield kept.connection
            finally:
                if kept.connection.in_transaction:
                    kept.connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise FewmaskError(self._reason(error)) from error
        self._idle.append(kept)  # not after an error: closing it is then what sets it right

    def _taken(self, mode: str) -> "_Kept":
        # The folder may have been deleted and made again, and this process be the child of another.
        now = os.getpid(), self.path.stat().st_ino if self.path.exists() else -1
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                kept = self._idle.pop()
                if (kept.process, kept.file) == now and kept.mode == mode:
                    return kept
        # Without write access SQLite cannot make the file that readers and writers of a log share; nobody writes then.
        immutable = "&immutable=1" if mode == "ro" else ""
        address = f"{self.path.absolute().as_uri()}?mode={mode}{immutable}"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_WAIT_S, check_same_thread=False)
        connection.execute("PRAGMA trusted_schema = OFF")
        return _Kept(connection, now[0], now[1], mode)

    def _reason(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", None)
        text = " ".join(str(error).split())[:200]
        if code is not None and code & 0xFF == sqlite3.SQLITE_BUSY:
            return f"{self.path}: another process has been writing to it for {_WAIT_S} s; try again when it is done"
        if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
            return f"{self.path}: no room left on the disk; nothing is lost, make room and run it again"
        if code is not None and code & 0xFF in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
            return f"{self.path}: cannot be opened for this ({text}); check who may write to {self.folder}"
        return f"{self.path}: damaged ({text}); delete {self.folder} and build the index again with `fewmask index`"


@dataclass(frozen=True, eq=False)
class _Kept:
    """A connection, the process and the file (inode) that it is of, and what may be done with it."""

    connection: sqlite3.Connection
    process: int
    file: int
    mode: str

    def __del__(self) -> None:
        self.connection.close()


def _close(idle: list[_Kept]) -> None:
    idle.clear()


def read_facts(connection: sqlite3.Connection, path: Path) -> Facts | None:
    """The pool as a whole; None where no table was ever made.

    Raises:
        FewmaskError: the database is of something else, or of a later version.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")}
    if not tables:
        return None
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION or tables != {*_TABLES, "clips_of_video"}:
        raise FewmaskError(f"{path}: not a clip index; make one with `fewmask index VIDEO... --out INDEX`")
    if version != _FORMAT:
        raise FewmaskError(f"{path}: a clip index of version {version}, this is fewmask for {_FORMAT}; use a newer one")
    raw = connection.execute("SELECT name, dimension, kind, about, changes, clips FROM pool").fetchone()
    try:
        name, dimension, kind, about, changes, clips = raw
        facts = Facts(name, dimension, kind, json.loads(about), changes, clips)
        numbers = all(isinstance(value, int) and value >= 0 for value in (facts.dimension, facts.changes, facts.clips))
        texts = all(isinstance(value, str) for value in (facts.name, facts.kind, *facts.about, *facts.about.values()))
        if not numbers or not texts or not 0 < facts.dimension <= _LARGEST_DIMENSION:
            raise ValueError("its description makes no sense")
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise sqlite3.DatabaseError(str(error)) from error
    return facts


def new_facts(dimension: int, kind: str, about: dict[str, str] | None = None) -> Facts:
    """Of a pool to be made."""
    return Facts(uuid.uuid4().hex, dimension, kind, about or {})


def enter(connection: sqlite3.Connection, clips: Sequence[ClipRow]) -> None:
    """Enter clips; those of the same id leave."""
    take_out(connection, [clip.id for clip in clips])
    for clip in clips:
        video, first, last = _span(clip.id)
        values = (_stored(clip.id), _stored(video), first, last, clip.looks)
        row = connection.execute(
            "INSERT INTO clips (id, video, first, last, looks, seal) VALUES (?, ?, ?, ?, ?, ?)",
            (*values, _seal(*values)),
        ).lastrowid
        vector = np.ascontiguousarray(clip.vector, "<f4").tobytes()
        connection.execute(
            "INSERT INTO vectors VALUES (?, ?, ?)", (row, vector, zlib.crc32(vector, (row or 0) & 0xFFFFFFFF))
        )
    connection.execute("UPDATE pool SET clips = clips + ?", (len(clips),))


def take_out(connection: sqlite3.Connection, ids: Sequence[ClipId]) -> int:
    """Remove clips; returns how many were there."""
    gone = [(row,) for row in rows_of(connection, ids).values()]
    connection.executemany("DELETE FROM vectors WHERE row = ?", gone)
    connection.executemany("DELETE FROM clips WHERE row = ?", gone)
    connection.execute("UPDATE pool SET clips = clips - ?", (len(gone),))
    return len(gone)


def rows_of(connection: sqlite3.Connection, ids: Sequence[ClipId], *, whole: bool = False) -> dict[ClipId, int]:
    """The rows of those clips that are there; ``whole`` checks all that is kept of them."""
    found: dict[ClipId, int] = {}
    for some in _in_pieces(ids):
        marks = ", ".join("?" * len(some))
        asked = f"SELECT id, row FROM clips WHERE id IN ({marks})"
        for name, row in connection.execute(asked, [_stored(name) for name in some]):
            found[_told(name)] = row
    if whole:
        clips_at(connection, list(found.values()))
    return found


def clips_at(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, tuple[ClipId, bytes | None]]:
    """Id and looks by row, of rows that are there."""
    found: dict[int, tuple[ClipId, bytes | None]] = {}
    for some in _in_pieces(rows):
        asked = (
            f"SELECT row, id, video, first, last, looks, seal FROM clips WHERE row IN ({', '.join('?' * len(some))})"
        )
        for row, *values, seal in connection.execute(asked, some):
            _require_seal(seal, *values)
            found[row] = _told(values[0]), values[4]
    return found


def all_ids(connection: sqlite3.Connection) -> list[ClipId]:
    """In the order in which they were entered."""
    return [_told(name) for (name,) in connection.execute("SELECT id FROM clips ORDER BY row")]


def ids_of_video(connection: sqlite3.Connection, video: str) -> list[ClipId]:
    """The clips of one video."""
    asked = "SELECT id FROM clips WHERE video = ? ORDER BY row"
    return [_told(name) for (name,) in connection.execute(asked, (_stored(video),))]


def videos_with_clips(connection: sqlite3.Connection) -> list[str]:
    """Every video of which there are clips."""
    asked = "SELECT DISTINCT video FROM clips WHERE video IS NOT NULL ORDER BY video"
    return [str(_told(name)) for (name,) in connection.execute(asked)]


def all_videos(connection: sqlite3.Connection) -> dict[str, str]:
    """The record of every video, as JSON."""
    found: dict[str, str] = {}
    for name, record, seal in connection.execute("SELECT name, record, seal FROM videos"):
        _require_seal(seal, name, record)
        found[str(_told(name))] = record
    return found


def put_videos(connection: sqlite3.Connection, records: dict[str, str]) -> None:
    """Enter the records of videos, or replace them."""
    for name, record in records.items():
        values = (_stored(name), record)
        connection.execute("INSERT OR REPLACE INTO videos VALUES (?, ?, ?)", (*values, _seal(*values)))


def forget_videos(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Remove the records of videos."""
    connection.executemany("DELETE FROM videos WHERE name = ?", [(_stored(name),) for name in names])


def put_looks(connection: sqlite3.Connection, clip_id: ClipId, looks: bytes) -> None:
    """Remember what a clip looks like that came from an index of before."""
    asked = "SELECT row, id, video, first, last FROM clips WHERE id = ?"
    for row, *values in connection.execute(asked, (_stored(clip_id),)).fetchall():
        connection.execute("UPDATE clips SET looks = ?, seal = ? WHERE row = ?", (looks, _seal(*values, looks), row))


def vector_rows(connection: sqlite3.Connection, above: int = 0) -> Rows:
    """All rows above one, ascending."""
    asked = "SELECT row FROM vectors WHERE row > ? ORDER BY row"
    return np.fromiter((row for (row,) in connection.execute(asked, (above,))), np.int64)


def vectors_at(connection: sqlite3.Connection, rows: Rows, dimension: int) -> tuple[Rows, Vectors]:
    """The vectors of those of some rows that are there, [N, D], and which rows they are, ascending."""
    found: list[tuple[int, bytes, int]] = []
    for some in _in_pieces(np.unique(rows).tolist()):
        asked = f"SELECT row, vector, seal FROM vectors WHERE row IN ({', '.join('?' * len(some))}) ORDER BY row"
        found += connection.execute(asked, some)
    return _as_arrays(found, dimension)


def vectors_above(
    connection: sqlite3.Connection, above: int, dimension: int, at_once: int
) -> Iterator[tuple[Rows, Vectors]]:
    """All vectors of rows above one, ascending, some at a time."""
    reading = connection.execute("SELECT row, vector, seal FROM vectors WHERE row > ? ORDER BY row", (above,))
    while found := reading.fetchmany(at_once):
        yield _as_arrays(found, dimension)


def _as_arrays(found: Sequence[tuple[int, bytes, int]], dimension: int) -> tuple[Rows, Vectors]:
    for row, vector, seal in found:
        if not isinstance(vector, bytes) or len(vector) != 4 * dimension:
            raise sqlite3.DatabaseError(f"the vector of row {row} has not {dimension} numbers")
        if _vector_seal(row, vector) != seal:
            raise sqlite3.DatabaseError(f"the vector of row {row} is not what was written")
    rows = np.array([row for row, _, _ in found], np.int64)
    vectors = np.frombuffer(b"".join(vector for _, vector, _ in found), "<f4").reshape(len(found), dimension)
    return rows, vectors.astype(np.float32, copy=False)


def _span(clip: ClipId) -> tuple[str | None, int | None, int | None]:
    """Video, first and last frame; nothing of vectors that are no clips of a video."""
    try:
        place = ClipPlace.of(clip)
    except FewmaskError:
        return None, None, None
    return place.video, place.first, place.last


def _create(connection: sqlite3.Connection, facts: Facts) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)  # one by one: executescript would commit
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {_FORMAT}")
    about = json.dumps(facts.about)
    connection.execute(
        "INSERT INTO pool VALUES (1, ?, ?, ?, ?, 0, 0)", (facts.name, facts.dimension, facts.kind, about)
    )


def _stored(name: ClipId | None) -> ClipId | bytes | None:
    """As the database takes it: names of files that are no proper text as bytes."""
    if isinstance(name, str) and not name.isascii():
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            return name.encode("utf-8", "surrogatepass")
    return name


def _told(name: Any) -> ClipId:
    if isinstance(name, bytes):
        try:
            return name.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise sqlite3.DatabaseError(f"a name that is no text ({error})") from error
    if not isinstance(name, str | int):
        raise sqlite3.DatabaseError(f"{name!r} in place of a name")
    return name


def _seal(*values: object) -> int:
    total = 0
    for value in values:
        total = zlib.crc32(value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass"), total)
    return total


def _vector_seal(row: int, vector: bytes) -> int:
    """The same in one call: a search makes hundreds."""
    return zlib.crc32(vector, row & 0xFFFFFFFF)


def _require_seal(seal: object, *values: object) -> None:
    if seal != _seal(*values):
        raise sqlite3.DatabaseError(f"{str(values[0])[:80]!r} is not what was written")


def _in_pieces(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
