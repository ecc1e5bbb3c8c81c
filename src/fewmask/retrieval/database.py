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
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fewmask.errors import FewmaskError
from fewmask.retrieval.clip_rows import all_ids, all_videos, in_pieces, rows_of

FILE = "pool.sqlite"

_APPLICATION = 0x66776D6B
_FORMAT = 2
_WAIT_S = 60
_CHECKED_WHOLE_BELOW = 1 << 24
"""Bytes of a file that is checked from end to end when it is opened; of a larger one only what is read is checked."""
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
                    for names in in_pieces(all_ids(connection)):
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
                _write_ahead(connection)
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


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the log on; SQLite does not wait for others here, so that two who make a pool at once would meet."""
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


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


def _create(connection: sqlite3.Connection, facts: Facts) -> None:
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)  # one by one: executescript would commit
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {_FORMAT}")
    about = json.dumps(facts.about)
    connection.execute(
        "INSERT INTO pool VALUES (1, ?, ?, ?, ?, 0, 0)", (facts.name, facts.dimension, facts.kind, about)
    )
