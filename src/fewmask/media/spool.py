"""An append-only file of per-frame records that survives a crash: what a long run has found so far.

File: 8 bytes of magic, then per record a header (payload length, CRC-32 of the rest of header and payload, frame index,
kind) and the payload, compressed with zlib. A record counts only when it is whole, so a torn one at the end is as if it
had never been written.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from fewmask.errors import DatasetError
from fewmask.media.results import FrameResult
from fewmask.media.rle import Rle

_MAGIC = b"FMSPOOL1"
_HEADER = struct.Struct("<IIQB")  # payload length, checksum, frame index, kind
_CHECKED = struct.Struct("<QB")  # the part of the header under the checksum
_JSON, _BYTES, _RESULT = range(3)

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
            DatasetError: it is another kind of file, or cannot be opened for writing.
        """
        self.path = Path(path)
        self.last_index: int | None = None
        self._sync_every = sync_every
        self._unsynced = 0
        try:
            self._handle: BinaryIO = self.path.open("r+b" if self.path.exists() else "w+b")
        except OSError as error:
            raise DatasetError(f"{self.path}: cannot be opened ({error.strerror}); choose another folder") from error
        size = os.fstat(self._handle.fileno()).st_size
        whole = self._recover(size)
        self.discarded_bytes = size - whole if size > whole else 0

    def append(self, frame_index: int, record: Record) -> None:
        """Add a record for a frame.

        Raises:
            DatasetError: the index is below the last one, the record cannot be stored as JSON, or the disk is full.
        """
        if self.last_index is not None and frame_index < self.last_index:
            raise DatasetError(f"{self.path}: frame {frame_index} came after frame {self.last_index}; keep the order")
        kind, payload = self._packed(record, frame_index)
        checksum = zlib.crc32(payload, zlib.crc32(_CHECKED.pack(frame_index, kind)))
        try:
            # One write and a flush: a killed process leaves whole records and at most one torn one.
            self._handle.write(_HEADER.pack(len(payload), checksum, frame_index, kind) + payload)
            self._handle.flush()
            self._unsynced += 1
            if self._unsynced >= self._sync_every:
                self.sync()
        except OSError as error:
            raise DatasetError(
                f"{self.path}: frame {frame_index} cannot be stored ({error.strerror}); free some space and resume"
            ) from error
        self.last_index = frame_index

    def records(self, start: int = 0) -> Iterator[tuple[int, Record]]:
        """(frame index, record) from frame ``start`` on, as far as written when the reading begins."""
        end = self._handle.tell()
        with self.path.open("rb") as reader:
            reader.seek(len(_MAGIC))
            for _, index, kind, payload in _whole_records(reader, end):
                if index >= start:
                    yield index, _unpacked(kind, payload)

    def results(self, start: int = 0) -> Iterator[FrameResult]:
        """The frame results alone, from frame ``start`` on."""
        for _, record in self.records(start):
            if isinstance(record, FrameResult):
                yield record

    def truncate_to(self, frame_index: int) -> None:
        """Drop every record of frame ``frame_index`` and after, so that it is the next one to append."""
        keep, last = len(_MAGIC), None
        with self.path.open("rb") as reader:
            reader.seek(keep)
            for end, index, _, _ in _whole_records(reader, self._handle.tell()):
                if index >= frame_index:
                    break
                keep, last = end, index
        self._cut(keep)
        self.last_index = last
        self.sync()

    def sync(self) -> None:
        """Have the system put everything on the disk now."""
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._unsynced = 0

    def close(self) -> None:
        """Sync and close; closing twice is allowed."""
        if not self._handle.closed:
            self.sync()
            self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _recover(self, size: int) -> int:
        """Find the end of the last whole record and cut the file there; returns that end."""
        magic = self._handle.read(len(_MAGIC))
        if not _MAGIC.startswith(magic):
            self._handle.close()
            raise DatasetError(f"{self.path}: is not a spool of fewmask; choose another file")
        end = len(_MAGIC)
        if len(magic) < len(_MAGIC):
            self._cut(0)
            self._handle.write(_MAGIC)
            self._handle.flush()
            return end
        for record_end, index, _, _ in _whole_records(self._handle, size):
            end, self.last_index = record_end, index
        self._cut(end)
        return end

    def _cut(self, end: int) -> None:
        self._handle.seek(end)
        self._handle.truncate()

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
        length, checksum, index, kind = _HEADER.unpack(reader.read(_HEADER.size))
        position += _HEADER.size + length
        if position > end:
            return
        payload = reader.read(length)
        if zlib.crc32(payload, zlib.crc32(_CHECKED.pack(index, kind))) != checksum:
            return
        yield position, index, kind, payload


def _unpacked(kind: int, payload: bytes) -> Record:
    data = zlib.decompress(payload)
    if kind == _BYTES:
        return data
    value: dict[str, Any] = json.loads(data)
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
