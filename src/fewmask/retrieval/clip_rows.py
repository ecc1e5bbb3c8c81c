"""The rows of a pool: what is entered, taken out and looked up, inside a reading or writing of its `Database`."""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.errors import FewmaskError
from fewmask.media.clip_place import ClipPlace

ClipId = str | int
Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

_AT_ONCE = 500  # parameters of one statement


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
    for some in in_pieces(ids):
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
    for some in in_pieces(rows):
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
    for some in in_pieces(np.unique(rows).tolist()):
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


def in_pieces(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Pieces that one statement can name."""
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
