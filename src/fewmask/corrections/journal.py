"""The journal of corrections: one JSON line each, appended and synced before anything else is told of it.

Two writers, in one process or in two, never lose each other's corrections: whoever appends says which version of the
journal the correction was made on, and is refused when another one came first. Undo and redo are entries as well, so
nothing that was ever written goes away.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fewmask.corrections.edits import Change, Redo, Undo, read_edit
from fewmask.errors import ConfigError, DatasetError

FILE_NAME = "corrections.jsonl"
_FORMAT = "fewmask-corrections-1"


class VersionConflictError(ConfigError):
    """Somebody else corrected first; read the new version and decide again."""


@dataclass(frozen=True)
class Entry:
    """One line: its version (from 1), when it was written (ISO 8601, UTC), and the correction."""

    version: int
    at: str
    edit: Change | Undo | Redo


class Journal:
    """The corrections of one run.

    Args:
        path: the file; made with the first correction.
        results: what tells the results that are corrected from others, written into the first line.

    Raises:
        DatasetError: a damaged line, or the journal belongs to other results. A last line without its end, as a power
            cut leaves it, was never acknowledged and is passed over.
    """

    def __init__(self, path: Path, results: Mapping[str, Any]) -> None:
        self.path = path
        self._results = dict(results)
        self._entries: list[Entry] = []
        self._read_to = 0
        self.refresh()

    @property
    def version(self) -> int:
        """Number of entries read."""
        return len(self._entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every entry read, oldest first."""
        return tuple(self._entries)

    def refresh(self) -> bool:
        """Read what others wrote since; True if there was something."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            if self._read_to:
                raise DatasetError(f"{self.path}: is gone; open the run again") from None
            return False
        if size < self._read_to:
            raise DatasetError(f"{self.path}: is shorter than it was; open the run again")
        return size > self._read_to and self._take(self.path.read_bytes()[self._read_to :])

    def append(self, edit: Change | Undo | Redo, based_on: int) -> Entry:
        """Write a correction that was made on version ``based_on``; it is on the disk when this returns.

        Raises:
            VersionConflictError: the journal is at another version by now; it has been read.
            FewmaskError: the journal cannot be read or written.
        """
        with self._locked() as handle:
            self.refresh()
            if based_on != self.version:
                raise VersionConflictError(
                    f"this was changed elsewhere (you saw version {based_on}, it is {self.version} now); "
                    "look at the new version and do it again"
                )
            entry = Entry(self.version + 1, datetime.now(UTC).isoformat(timespec="seconds"), edit)
            lines = "" if self._read_to else _line({"format": _FORMAT, "results": self._results})
            lines += _line({"version": entry.version, "at": entry.at, **edit.model_dump()})
            data = lines.encode()
            try:
                os.ftruncate(handle, self._read_to)  # a torn line of a killed writer
                os.lseek(handle, self._read_to, os.SEEK_SET)
                _write_all(handle, data)
                os.fsync(handle)
                _sync_folder(self.path.parent)
            except OSError as error:
                raise DatasetError(
                    f"{self.path}: the correction cannot be stored ({error.strerror}); free some space"
                ) from error
            self._read_to += len(data)
            self._entries.append(entry)
        return entry

    def _take(self, data: bytes) -> bool:
        whole, _, _ = data.rpartition(b"\n")
        for line in whole.split(b"\n") if whole else ():
            where = f"{self.path}, line {len(self._entries) + (2 if self._read_to else 1)}"
            record = _object(line, where)
            if not self._read_to:
                self._check_header(record, where)
            else:
                self._entries.append(self._entry(record, where))
            self._read_to += len(line) + 1
        return bool(whole)

    def _check_header(self, record: dict[str, Any], where: str) -> None:
        if record.get("format") != _FORMAT:
            raise DatasetError(f"{where}: not a journal of corrections of this version; move the file away")
        if record.get("results") != self._results:
            raise DatasetError(
                f"{self.path}: these corrections belong to other results than the run's present ones; "
                "move the file away, or put the old tracks.json back"
            )

    def _entry(self, record: dict[str, Any], where: str) -> Entry:
        version, at = record.pop("version", None), record.pop("at", None)
        if version != self.version + 1 or not isinstance(at, str):
            raise DatasetError(f"{where}: version {version!r} where {self.version + 1} must stand; the file is damaged")
        return Entry(self.version + 1, at, read_edit(record, where))

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, open for writing and locked against other writers; the lock dies with the process."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise DatasetError(f"{self.path}: cannot be written ({error.strerror}); check the folder") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False, ensure_ascii=True, separators=(",", ":")) + "\n"


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: damaged, no JSON; restore the file from a copy") from error
    if not isinstance(record, dict):
        raise DatasetError(f"{where}: damaged, no JSON object; restore the file from a copy")
    return record


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
