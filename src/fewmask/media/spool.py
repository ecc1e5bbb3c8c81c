"""An append-only file of per-frame records that survives a crash: what a long run has found so far.

File: 8 bytes of magic, then per record a header (mark, payload length, CRC-32 of header and payload, frame index, kind)
and the payload, compressed with zlib. A record counts only when it is whole. A torn one at the end
is what a killed process or a power cut leaves: it is as if it had never been written. A torn one with whole ones
behind it is damage, and is told.
"""

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from fewmask.errors import DatasetError, FewmaskError, InUseError
from fewmask.media.results import FrameResult
from fewmask.media.rle import Rle

_MAGIC = b"FMSPOOL2"
_MARK = b"\xf5FMr"  # before every record, so that those behind a damaged one are found
_HEADER = struct.Struct("<4sIIQB")  # mark, payload length, checksum, frame index, kind
_CHECKED = struct.Struct("<IQB")  # the part of the header under the checksum
_JSON, _BYTES, _RESULT = range(3)
_MOST_BYTES = 1 << 30  # of one record when unpacked

Record = dict[str, Any] | bytes | FrameResult


class ResultSpool:
    """Records in order of their frame index; one frame may have several (its result, then a state checkpoint).

    Reading streams: memory does not grow with the number of records.

    Attributes:
        path: the file.
        last_index: frame index of the last record, or None when there is none.
        discarded_bytes: what was torn at the end when the file was opened, and is gone now.
    """

    def __init__(self, path: str | Path, *, sync_every: int = 64) -> None:
        """Open or create the file, and drop a torn record at its end.

        Args:
            path: the file.
            sync_every: records between two fsyncs; a power cut loses at most that many, a killed process none that
                was flushed. Higher is faster.

        Raises:
            DatasetError: it is another kind of file, is damaged before its end, or cannot be opened for writing.
            InUseError: it is being written by another run.
        """
        self.path = Path(path)
        self.last_index: int | None = None
        self._sync_every = sync_every
        self._unsynced = 0
        try:
            # Unbuffered: what could not be written now must not be written again at the end.
            self._handle: BinaryIO = self.path.open("r+b" if self.path.exists() else "w+b", buffering=0)
        except OSError as error:
            raise DatasetError(f"{self.path}: cannot be opened ({error.strerror}); choose another folder") from error
        try:
            self._lock()
            size = os.fstat(self._handle.fileno()).st_size
            self._end = self._recover(size)
        except OSError as error:
            self._handle.close()
            raise DatasetError(f"{self.path}: cannot be opened ({error.strerror}); choose another folder") from error
        except FewmaskError:
            self._handle.close()
            raise
        self.discarded_bytes = size - self._end if size > self._end else 0

    def append(self, frame_index: int, record: Record) -> None:
        """Add a record for a frame.

        Raises:
            DatasetError: the index is below the last one, the record cannot be stored as JSON, or the disk is full.
        """
        if self.last_index is not None and frame_index < self.last_index:
            raise DatasetError(f"{self.path}: frame {frame_index} came after frame {self.last_index}; keep the order")
        kind, payload = self._packed(record, frame_index)
        checksum = _checksum(len(payload), frame_index, kind, payload)
        data = _HEADER.pack(_MARK, len(payload), checksum, frame_index, kind) + payload
        try:
            self._handle.seek(self._end)
            self._write(data)  # a killed process leaves whole records and at most one torn one
            self._unsynced += 1
            if self._unsynced >= self._sync_every:
                self.sync()
        except OSError as error:
            with suppress(OSError):
                self._handle.truncate(self._end)
            raise DatasetError(
                f"{self.path}: frame {frame_index} cannot be stored ({error.strerror}); free some space and resume"
            ) from error
        self._end += len(data)
        self.last_index = frame_index

    def records(self, start: int = 0) -> Iterator[tuple[int, Record]]:
        """(frame index, record) from frame ``start`` on, as far as written when the reading begins.

        Raises:
            DatasetError: what was written is not there any more, or was changed.
        """
        end = self._end
        with self.path.open("rb") as reader:
            for _, index, kind, payload in self._whole_until(reader, end):
                if index >= start:
                    yield index, self._unpacked(index, kind, payload)

    def results(self, start: int = 0) -> Iterator[FrameResult]:
        """The frame results alone, from frame ``start`` on."""
        for _, record in self.records(start):
            if isinstance(record, FrameResult):
                yield record

    def truncate_to(self, frame_index: int) -> None:
        """Drop every record of frame ``frame_index`` and after, so that it is the next one to append."""
        keep, last = len(_MAGIC), None
        with self.path.open("rb") as reader:
            for end, index, _, _ in self._whole_until(reader, self._end):
                if index >= frame_index:
                    break
                keep, last = end, index
        self._handle.truncate(keep)
        self._end, self.last_index = keep, last
        self.sync()

    def sync(self) -> None:
        """Have the system put everything on the disk now."""
        os.fsync(self._handle.fileno())
        self._unsynced = 0

    def close(self) -> None:
        """Sync and close; closing twice is allowed."""
        if not self._handle.closed:
            try:
                self.sync()
            finally:
                self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        from filelock import lock_descriptor

        # On the file itself: a worker that outlives its killed parent still has it.
        if not lock_descriptor(self._handle.fileno(), blocking=False):
            raise InUseError(f"{self.path}: is being written by another process; wait for it to end")

    def _recover(self, size: int) -> int:
        """Find the end of the last whole record and cut the file there; returns that end."""
        magic = self._handle.read(len(_MAGIC))
        if not _MAGIC.startswith(magic):
            older = "; it was written by an older version" if magic.startswith(_MAGIC[:-1]) else ""
            raise DatasetError(f"{self.path}: is not a spool of this fewmask{older}; use another folder")
        if len(magic) < len(_MAGIC):
            self._handle.truncate(0)
            self._handle.seek(0)
            self._write(_MAGIC)
            return len(_MAGIC)
        end = len(_MAGIC)
        with self.path.open("rb") as reader:
            reader.seek(end)
            for record_end, index, _, _ in _whole_records(reader, size):
                end, self.last_index = record_end, index
        if end < size:
            self._refuse_damage(end)
            self._handle.truncate(end)
        return end

    def _refuse_damage(self, end: int) -> None:
        """Raise if any whole record lies behind ``end``, where the last good one before the torn part ends."""
        with mmap.mmap(self._handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = data.find(_MARK, end + 1)
            while place >= 0:
                if place + _HEADER.size <= len(data):
                    _, length, checksum, index, kind = _HEADER.unpack_from(data, place)
                    payload = data[place + _HEADER.size : place + _HEADER.size + length]
                    if len(payload) == length and _checksum(length, index, kind, payload) == checksum:
                        raise DatasetError(self._damaged())
                place = data.find(_MARK, place + 1)

    def _damaged(self) -> str:
        after = "before its first record" if self.last_index is None else f"after frame {self.last_index}"
        return f"{self.path}: is damaged {after}; restore it from a copy, or remove it and the run starts again"

    def _whole_until(self, reader: BinaryIO, end: int) -> Iterator[tuple[int, int, int, bytes]]:
        """`_whole_records` up to ``end``, where they must reach."""
        reached, last = len(_MAGIC), None
        reader.seek(reached)
        for found in _whole_records(reader, end):
            reached, last = found[0], found[1]
            yield found
        if reached < end:
            after = "before its first record" if last is None else f"after frame {last}"
            raise DatasetError(f"{self.path}: was changed or cut short {after} while the run went on; resume the run")

    def _unpacked(self, index: int, kind: int, payload: bytes) -> Record:
        try:
            return _unpacked(kind, payload)
        except (zlib.error, ValueError, KeyError, TypeError, AttributeError, DatasetError) as error:
            reason = str(error).splitlines()[0]
            raise DatasetError(f"{self.path}: the record of frame {index} cannot be read ({reason})") from error

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._handle.write(rest) :]

    def _packed(self, record: Record, frame_index: int) -> tuple[int, bytes]:
        if isinstance(record, bytes):
            return _BYTES, zlib.compress(record, 1)
        value = _result_as_json(record) if isinstance(record, FrameResult) else record
        try:
            text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{self.path}: the record of frame {frame_index} is not JSON ({error})") from error
        return _RESULT if isinstance(record, FrameResult) else _JSON, zlib.compress(text.encode(), 1)


def _whole_records(reader: BinaryIO, end: int) -> Iterator[tuple[int, int, int, bytes]]:
    """(end of record, frame index, kind, compressed payload) from where ``reader`` stands to the first torn record."""
    position = reader.tell()
    while end - position >= _HEADER.size:
        header = reader.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return
        mark, length, checksum, index, kind = _HEADER.unpack(header)
        position += _HEADER.size + length
        if mark != _MARK or position > end:
            return
        payload = reader.read(length)
        if len(payload) < length or _checksum(length, index, kind, payload) != checksum:
            return
        yield position, index, kind, payload


def _checksum(length: int, index: int, kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(length, index, kind)))


def _unpacked(kind: int, payload: bytes) -> Record:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(payload, _MOST_BYTES)
    if unpacker.unconsumed_tail:
        raise ValueError(f"larger than {_MOST_BYTES} bytes")
    if kind == _BYTES:
        return data
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return _result_from_json(value) if kind == _RESULT else value


def _result_as_json(result: FrameResult) -> dict[str, Any]:
    return {
        "index": result.index,
        "size": list(result.size),
        "track_ids": list(result.track_ids),
        "category_ids": list(result.category_ids),
        "scores": list(result.scores),
        "counts": [None if mask is None else mask["counts"] for mask in result.masks],
        "time_s": result.time_s,
    }


def _result_from_json(value: dict[str, Any]) -> FrameResult:
    height, width = value["size"]
    masks: list[Rle | None] = [
        None if counts is None else {"size": [height, width], "counts": counts} for counts in value["counts"]
    ]
    return FrameResult(
        index=value["index"],
        size=(height, width),
        track_ids=tuple(value["track_ids"]),
        category_ids=tuple(value["category_ids"]),
        scores=tuple(value["scores"]),
        masks=tuple(masks),
        time_s=value["time_s"],
    )
