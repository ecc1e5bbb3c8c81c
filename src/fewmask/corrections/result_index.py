"""A run's tracks by stretch of frames: what lets a viewer jump anywhere in a long video.

``tracks.json`` lists the masks track by track, so that one frame lies all over the file. The index is one SQLite file
in a cache folder that holds the same run lengths in blocks of `STRETCH` frames, and of every track a byte per frame
that tells whether it is there and how sure. It is made in one pass with the memory of one track, and can be thrown
away.
"""

import hashlib
import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.datasets.json_file import field, integer, number
from fewmask.datasets.json_records import iterate_json_list
from fewmask.errors import DatasetError, FewmaskError
from fewmask.media.given_path import expanded
from fewmask.media.results import Size

STRETCH = 64
"""Frames in a block."""
_LAYOUT = 2
_KEPT = 32  # indexes in the cache folder

Presence = npt.NDArray[np.uint8]
"""uint8 [T]: 0 where a track is absent, else 1 to 255 for a score of 0 to 1."""


@dataclass(frozen=True)
class ListedTrack:
    """One entry of the results: ``frames`` is the number of frames where it has a mask."""

    track_id: int
    category_id: int
    score: float
    frames: int


def cache_folder() -> Path:
    """Where indexes lie: ``FEWMASK_CACHE``, or fewmask in the user's cache folder."""
    own = os.environ.get("FEWMASK_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(Path(own) if own else Path(base) / "fewmask") / "results"


class ResultIndex:
    """The masks of one result file, read by stretch; threads may share it.

    Attributes:
        tracks: every entry, in the file's order, which is that of their rank.
        length: frames of the video.
        size: (height, width) of the masks; None where there is no mask.
    """

    def __init__(self, path: Path) -> None:
        """Use `open_index`."""
        self._path = path
        self._local = threading.local()
        with self._readable():
            head = json.loads(zlib.decompress(self._rows("SELECT value FROM head")[0][0]))
            self.length: int = head["length"]
            self.size: Size | None = None if head["size"] is None else (head["size"][0], head["size"][1])
            self.tracks = tuple(ListedTrack(*row) for row in head["tracks"])
        self._presence: dict[int, Presence] = {}

    def stretch(self, number: int, track_ids: Sequence[int]) -> dict[int, list[str | None]]:
        """Counts of every mask in frames ``number`` * `STRETCH` and on; tracks that are absent there are left out."""
        marks = ",".join("?" * len(track_ids))
        rows = self._rows(
            f"SELECT track, counts FROM masks WHERE stretch = ? AND track IN ({marks})",
            (number, *track_ids),
        )
        with self._readable():
            return {track: json.loads(zlib.decompress(counts)) for track, counts in rows}

    def presence(self, track_id: int) -> Presence:
        """Where a track is, and how sure; see `Presence`."""
        if track_id not in self._presence:
            with self._readable():
                ((packed,),) = self._rows("SELECT presence FROM presences WHERE track = ?", (track_id,))
                self._presence[track_id] = np.frombuffer(zlib.decompress(packed), np.uint8)
        return self._presence[track_id]

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        connection = getattr(self._local, "connection", None)
        with self._readable():
            if connection is None:
                connection = sqlite3.connect(f"file:{self._path}?mode=ro&immutable=1", uri=True)
                self._local.connection = connection
            return list(connection.execute(query, values))

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """What SQLite does not see, the checksum of each compressed value does."""
        try:
            yield
        except (sqlite3.Error, zlib.error, ValueError, TypeError, LookupError, MemoryError) as error:
            reason = " ".join(str(error).split())[:200]
            raise FewmaskError(f"{self._path}: damaged ({reason}); delete it, it is made again") from error


def open_index(
    results: Path, *, folder: Path | None = None, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> ResultIndex:
    """The index of a result file (``tracks.json``, YouTube-VIS results of one video); made when it is not there yet.

    Args:
        results: the file.
        folder: where indexes lie; default `cache_folder`.
        progress: called with bytes read and bytes in all, while it is made.

    Raises:
        DatasetError: the file is missing or malformed; the message names the entry.
        FewmaskError: the cache folder cannot be written.
    """
    try:
        facts = results.stat()
    except OSError as error:
        raise DatasetError(
            f"{results}: cannot be read ({error.strerror}); is the run finished? `fewmask segment --resume` goes on"
        ) from error
    identity = f"{_LAYOUT}|{results.resolve()}|{facts.st_size}|{facts.st_mtime_ns}"
    place = (
        folder or cache_folder()
    ) / f"{hashlib.sha256(identity.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.sqlite"
    if not place.exists():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _build(results, place, progress)
            _tidy(place.parent)
        except (OSError, sqlite3.Error) as error:
            raise FewmaskError(f"{place.parent}: the index of {results} cannot be made ({error})") from error
    return ResultIndex(place)


def _build(results: Path, place: Path, progress: Callable[[int, int], None]) -> None:
    temporary = place.with_name(f".{place.stem}.{os.getpid()}.{threading.get_ident()}.part")
    temporary.unlink(missing_ok=True)
    connection = sqlite3.connect(temporary)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE head (value BLOB)")
        connection.execute("CREATE TABLE presences (track INTEGER PRIMARY KEY, presence BLOB)")
        connection.execute(
            "CREATE TABLE masks (stretch INTEGER, track INTEGER, counts BLOB, PRIMARY KEY (stretch, track)) "
            "WITHOUT ROWID"
        )
        head = _fill(connection, results, progress)
        connection.execute("INSERT INTO head VALUES (?)", (zlib.compress(json.dumps(head).encode()),))
        connection.commit()
        connection.close()
        temporary.replace(place)
    finally:
        connection.close()
        temporary.unlink(missing_ok=True)


def _fill(connection: sqlite3.Connection, results: Path, progress: Callable[[int, int], None]) -> dict[str, Any]:
    tracks: list[ListedTrack] = []
    length: int | None = None
    size: list[int] | None = None
    for number_, (entry, done, total) in enumerate(_entries(results)):
        where = f"{results}: [{number_}]"
        masks = field(entry, "segmentations", list, where)
        if length is not None and len(masks) != length:
            raise DatasetError(
                f"{where}: {len(masks)} masks where others have {length}; is it the results of one video?"
            )
        length = len(masks)
        track_id = integer(entry, "track_id", where, low=1) if "track_id" in entry else number_ + 1
        if any(track.track_id == track_id for track in tracks):
            raise DatasetError(f"{where}: track_id {track_id} is used twice")
        score = float(number(entry, "score", where))
        size = _checked(masks, size, where)
        presence = _presence(masks, entry.get("frame_scores"), score, where)
        connection.execute("INSERT INTO presences VALUES (?, ?)", (track_id, zlib.compress(presence.tobytes(), 1)))
        connection.executemany("INSERT INTO masks VALUES (?, ?, ?)", _blocks(track_id, masks, presence))
        present = int(np.count_nonzero(presence))
        tracks.append(ListedTrack(track_id, integer(entry, "category_id", where), score, present))
        progress(done, total)
    rows = [[track.track_id, track.category_id, track.score, track.frames] for track in tracks]
    return {"length": length or 0, "size": size, "tracks": rows}


def _entries(results: Path) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Entry, bytes read, bytes in all; files with an entry on each line, as we write them, are read line by line."""
    total = results.stat().st_size
    with results.open("rb") as handle:
        if handle.readline(64) == b"[\n":
            done, closed = handle.tell(), False
            for line in handle:
                done += len(line)
                text = line.strip().removesuffix(b",")
                closed = text == b"]"
                if text and not closed:
                    yield _entry(text, results), done, total
            if not closed:
                raise DatasetError(f"{results}: cut short; write it again with --resume")
            return
    for entry in iterate_json_list(results):
        yield entry, total, total


def _entry(text: bytes, results: Path) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{results}: a line holds no whole entry; write it again with --resume") from error
    if not isinstance(entry, dict):
        raise DatasetError(f"{results}: a line holds no object {{...}}; every result is one")
    return entry


def _checked(masks: list[Any], size: list[int] | None, where: str) -> list[int] | None:
    for frame, mask in enumerate(masks):
        if mask is None:
            continue
        if not (isinstance(mask, dict) and isinstance(mask.get("counts"), str) and isinstance(mask.get("size"), list)):
            raise DatasetError(f"{where}: segmentations[{frame}] is no compressed run-length mask")
        if size is None:
            size = mask["size"]
            if len(size) != 2 or not all(type(side) is int and 0 < side <= 1 << 14 for side in size):
                raise DatasetError(f"{where}: segmentations[{frame}] has the size {size}")
        if mask["size"] != size:
            raise DatasetError(f"{where}: segmentations[{frame}] is of size {mask['size']}, others of {size}")
    return size


def _presence(masks: list[Any], scores: Any, score: float, where: str) -> Presence:
    """One byte a frame; without scores of frames the track's own stands for each."""
    there = np.array([mask is not None for mask in masks], dtype=bool)
    values = np.full(len(masks), score, dtype=np.float64)
    if isinstance(scores, list):
        if len(scores) != len(masks):
            raise DatasetError(f"{where}: {len(scores)} frame_scores for {len(masks)} masks")
        values = np.array([score if value is None else value for value in scores], dtype=np.float64)
    return np.where(there, 1 + np.rint(254 * values.clip(0, 1)), 0).astype(np.uint8)


def _blocks(track_id: int, masks: list[Any], presence: Presence) -> Iterator[tuple[int, int, bytes]]:
    for number_ in range(-(-len(masks) // STRETCH)):
        begin = number_ * STRETCH
        if presence[begin : begin + STRETCH].any():
            counts = [None if mask is None else mask["counts"] for mask in masks[begin : begin + STRETCH]]
            yield number_, track_id, zlib.compress(json.dumps(counts, separators=(",", ":")).encode(), 1)


def _tidy(folder: Path) -> None:
    """Forget the indexes that were made longest ago."""
    made = sorted(folder.glob("*.sqlite"), key=lambda path: path.stat().st_mtime)
    for path in made[:-_KEPT]:
        path.unlink(missing_ok=True)
