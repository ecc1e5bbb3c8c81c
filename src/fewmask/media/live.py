"""Frames from cameras and addresses."""

import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import av

from fewmask.addresses import address_name, showable
from fewmask.errors import VideoError
from fewmask.media.container import (
    mean_fps,
    open_container,
    reason,
    upright_rgb,
    upright_size,
    used_bits,
    video_stream,
)
from fewmask.media.frame_source import ClosesAtExit, Frame, FrameSource
from fewmask.media.video_file import VideoFile

OPEN_TIMEOUT_S = 15.0
_STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "udp", "tcp", "srt")


class LiveStream(ClosesAtExit):
    """A stream without an end. Frames that arrive damaged are left out and noted in ``broken``.

    Indices count what arrived, damaged frames included; nothing is counted before the first good frame, because a
    stream is usually joined between key frames.
    """

    def __init__(self, container: Any, shown: str, name: str, *, endless: bool) -> None:
        """Wait for the first good frame; ``endless`` takes an end for a lost connection, as FFmpeg tells neither."""
        self.name = name
        self.length: int | None = None
        self.estimated_length: int | None = None
        self.is_live = True
        self.file_names: tuple[str, ...] | None = None
        self.broken: list[int] = []
        self._container = container
        self._shown = shown
        self._endless = endless
        self._stream = video_stream(container, shown)
        self._stream.thread_type = "AUTO"
        self.fps = mean_fps(self._stream)
        decoded = self._decoded()
        try:
            first = next(decoded, None)
        except av.FFmpegError as error:
            container.close()
            raise VideoError(f"{shown}: no frame came ({reason(error)}); check that it is sending") from None
        if first is None:
            container.close()
            raise VideoError(f"{shown}: ended before its first frame; check that it is sending")
        self.size = upright_size(first)
        self._bits = used_bits(first, shown)
        self._frames = self._as_frames(first, decoded)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Release the device or connection; closing twice is allowed."""
        self._frames.close()
        self._container.close()

    def _decoded(self) -> Generator[Any, None, None]:
        """Good frames, None for damaged ones after the first good one.

        Raises:
            FFmpegError: the connection is lost.
        """
        began = False
        lost: av.FFmpegError | None = None
        packets = self._container.demux(self._stream)
        while lost is None:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                lost, packet = error, None
            for frame in self._decode(packet):
                good = frame is not None and not frame.is_corrupt
                began = began or good
                if began:
                    yield frame if good else None
            if packet is None and lost is None:
                return
        raise lost

    def _decode(self, packet: Any) -> list[Any]:
        """A packet's frames, None in place of one that is damaged; without a packet what the decoder still holds."""
        if packet is not None and packet.size == 0:
            return []
        try:
            frames: list[Any] = self._stream.codec_context.decode(packet)
        except av.FFmpegError:
            return [None]
        return frames

    def _as_frames(self, first: Any, rest: Iterator[Any]) -> Generator[Frame, None, None]:
        index = 0
        frame = first
        while True:
            if frame is None:
                self.broken.append(index)
            elif upright_size(frame) != self.size:
                raise VideoError(f"{self._shown}: the picture size changed at frame {index}; start again")
            else:
                yield Frame(index, self._time_of(index, frame, first), upright_rgb(frame, self._bits))
            index += 1
            try:
                frame = next(rest)
            except StopIteration:
                if self._endless:
                    raise self._lost(index, "the stream ended") from None
                return
            except av.FFmpegError as error:
                raise self._lost(index, reason(error)) from None

    def _lost(self, index: int, why: str) -> VideoError:
        return VideoError(f"{self._shown}: the connection was lost before frame {index} ({why}); start again")

    def _time_of(self, index: int, frame: Any, first: Any) -> float:
        if frame.pts is None or first.pts is None:
            return index / self.fps if self.fps else float(index)
        return float((frame.pts - first.pts) * self._stream.time_base)


def open_camera(number: int, *, start: int = 0) -> LiveStream:
    """The camera with this number, from 0.

    Raises:
        VideoError: there is no such camera, or it gives no picture.
    """
    shown = f"camera {number}"
    _refuse_start(start, shown)
    if sys.platform == "darwin":
        container = open_container(str(number), shown, container_format="avfoundation", timeout_s=OPEN_TIMEOUT_S)
        return LiveStream(container, shown, f"camera{number}", endless=True)
    device = Path(f"/dev/video{number}")
    if not device.exists():
        found = " ".join(path.name.removeprefix("video") for path in sorted(Path("/dev").glob("video[0-9]*")))
        raise VideoError(f"{shown}: there is no {device}; cameras here: {found or 'none'}")
    container = open_container(str(device), shown, container_format="v4l2", timeout_s=OPEN_TIMEOUT_S)
    return LiveStream(container, shown, f"camera{number}", endless=True)


def open_address(address: str, *, start: int = 0, skip_broken: bool = False) -> FrameSource:
    """A network stream, live or, for http(s) with a known duration, a finite video.

    Raises:
        VideoError: the address cannot be reached in time, is of an unknown kind, or gives no picture.
    """
    shown = showable(address)
    scheme = address.partition("://")[0].lower()
    name = address_name(address)
    if scheme not in (*_STREAM_SCHEMES, "http", "https"):
        raise VideoError(f"{shown}: addresses of kind {scheme}:// are not read; use rtsp://, http:// or a file")
    options = {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
    container = open_container(address, shown, options=options, timeout_s=OPEN_TIMEOUT_S)
    if scheme in ("http", "https") and container.duration is not None:
        container.close()
        return VideoFile(address, shown, name, start=start, skip_broken=skip_broken, timeout_s=OPEN_TIMEOUT_S)
    try:
        _refuse_start(start, shown)
    except VideoError:
        container.close()
        raise
    return LiveStream(container, shown, name, endless=scheme in ("rtsp", "rtsps"))


def _refuse_start(start: int, shown: str) -> None:
    if start:
        raise VideoError(f"{shown}: a live source cannot start at frame {start}; leave start at 0")
