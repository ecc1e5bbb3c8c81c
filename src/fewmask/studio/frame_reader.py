"""Any frame of a video by its number, exactly: what pausing, stepping and correcting need."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from fewmask.errors import VideoError
from fewmask.media.container import mean_fps, open_container, upright_rgb, video_stream
from fewmask.media.frame_source import RgbImage
from fewmask.media.frames import open_frames
from fewmask.media.image_files import images_in_folder
from fewmask.media.image_pixels import read_rgb
from fewmask.media.packet_times import PacketTimes, packet_times

_PASSED_BYTES = 48 << 20
_AHEAD = 32  # frames that are decoded rather than sought
_PLAYED = {"h264": ("yuv420p", "yuvj420p"), "vp8": ("yuv420p",), "vp9": ("yuv420p",), "av1": ("yuv420p",)}
_PLAYED_IN = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm"}


class FrameReader:
    """One video file or folder of pictures; threads may share it.

    Attributes:
        size: (height, width).
        length: frames; None where only a full decode would tell.
        fps: mean rate; None for pictures.
        times: seconds of each frame since the first, float64 [T]; None where unknown.
        media_type: what a browser plays the file as, None where it cannot.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            VideoError: nothing there that holds frames.
        """
        self._path = path
        self._lock = threading.Lock()
        self._pictures = images_in_folder(path) if path.is_dir() else None
        self.times: npt.NDArray[np.float64] | None = None
        self.fps: float | None = None
        self.media_type: str | None = None
        self._packets: PacketTimes | None = None
        self._container: Any = None
        self._coming: Iterator[tuple[int, RgbImage]] = iter(())
        self._next = 0
        self._passed: deque[tuple[int, Any]] = deque(maxlen=1)  # frames decoded on the way, for steps backwards
        if self._pictures is not None:
            self.size = read_rgb(self._pictures[0]).shape[:2]
            self.length: int | None = len(self._pictures)
        else:
            self._look_at_video()

    def rgb(self, index: int) -> RgbImage:
        """Frame ``index``, uint8 [H, W, 3].

        Raises:
            VideoError: there is no such frame, or it is broken.
        """
        if index < 0 or (self.length is not None and index >= self.length):
            raise VideoError(f"{self._path.name}: there is no frame {index}")
        if self._pictures is not None:
            return read_rgb(self._pictures[index])
        with self._lock:
            for number, frame in self._passed:
                if number == index:
                    return upright_rgb(frame)
            if not self._next <= index <= self._next + _AHEAD:
                self._seek(index)
            for number, rgb in self._coming:
                self._next = number + 1
                if number == index:
                    return rgb
                if number > index:
                    break
            self._next = 1 << 62  # so that the next call seeks
        raise VideoError(f"{self._path.name}: frame {index} is broken or beyond the end")

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            if self._container is not None:
                self._container.close()
                self._container = None
                self._passed.clear()
                self._next = 1 << 62

    def _look_at_video(self) -> None:
        container = open_container(f"file:{self._path}", self._path.name)
        stream = video_stream(container, self._path.name)
        self.fps = mean_fps(stream)
        context = stream.codec_context
        if context.pix_fmt in _PLAYED.get(context.name.removeprefix("lib"), ()):
            self.media_type = _PLAYED_IN.get(self._path.suffix.lower())
        self._packets = packet_times(container, stream)
        container.close()
        self.length = None if self._packets is None else len(self._packets.frames)
        if self._packets is not None:
            ticks = self._packets.frames - self._packets.frames[0]
            self.times = ticks * float(stream.time_base)
        self._seek(0)
        first = next(self._coming, None)
        if first is None:
            raise VideoError(f"{self._path.name}: no frame can be decoded; check that it plays")
        self.size = first[1].shape[:2]
        room = _PASSED_BYTES // (self.size[0] * self.size[1] * 3 // 2)
        self._passed = deque(maxlen=max(1, min(_AHEAD, room)))
        self._next = 1 << 62

    def _seek(self, index: int) -> None:
        """Stand before frame ``index``, so that decoding from there gives it."""
        if self._packets is None:
            self._coming = self._without_times(index)
            return
        if self._container is None:
            self._container = open_container(f"file:{self._path}", self._path.name)
            self._stream().thread_type = "AUTO"
        stream = self._stream()
        # The last key frame, not the one before it as for results: a picture to look at should come at once.
        before = int(np.searchsorted(self._packets.key_frames, self._packets.frames[index], side="right")) - 1
        start = self._packets.key_frames[before] if before >= 0 else self._packets.frames[0]
        self._container.seek(int(start), stream=stream)
        self._coming = self._decoded(self._packets, index)

    def _stream(self) -> Any:
        return video_stream(self._container, self._path.name)

    def _decoded(self, packets: PacketTimes, start: int) -> Iterator[tuple[int, RgbImage]]:
        try:
            for frame in self._container.decode(self._stream()):
                index = packets.index_of(frame.pts) if frame.pts is not None else None
                if index is None:
                    continue
                self._passed.append((index, frame))
                if index >= start:
                    yield index, upright_rgb(frame)
        except av.FFmpegError:
            return

    def _without_times(self, start: int) -> Iterator[tuple[int, RgbImage]]:
        with open_frames(self._path, start=start, skip_broken=True) as frames:
            for frame in frames:
                yield frame.index, frame.rgb


class FrameReaders:
    """The readers in use, the longest unused one closed first, and the pictures they gave as JPEG, up to a limit."""

    def __init__(self, *, readers: int = 6, cache_bytes: int = 96 << 20) -> None:
        self._readers: OrderedDict[Path, FrameReader] = OrderedDict()
        self._pictures: OrderedDict[tuple[Path, int, int], bytes] = OrderedDict()
        self._held = 0
        self._most, self._limit = readers, cache_bytes
        self._lock = threading.Lock()

    def reader(self, path: Path) -> FrameReader:
        """The reader of a video.

        Raises:
            VideoError: it cannot be opened.
        """
        with self._lock:
            reader = self._readers.get(path)
            if reader is None:
                reader = FrameReader(path)
                self._readers[path] = reader
            self._readers.move_to_end(path)
            while len(self._readers) > self._most:
                self._readers.popitem(last=False)[1].close()
            return reader

    def jpeg(self, path: Path, index: int, width: int = 0) -> bytes:
        """A frame as JPEG, at most ``width`` pixels wide; 0 = as it is."""
        key = (path, index, width)
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        picture = encoded(self.reader(path).rgb(index), width)
        with self._lock:
            if key not in self._pictures:
                self._pictures[key] = picture
                self._held += len(picture)
            while self._held > self._limit:
                self._held -= len(self._pictures.popitem(last=False)[1])
        return picture


def encoded(rgb: RgbImage, width: int = 0, quality: int = 88) -> bytes:
    """A picture as JPEG, at most ``width`` pixels wide; 0 = as it is."""
    fitted = resized(rgb, width)
    return cv2.imencode(".jpg", cv2.cvtColor(fitted, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


def resized(rgb: RgbImage, width: int) -> RgbImage:
    """At most ``width`` pixels wide, 0 = as it is, with its shape."""
    if not 0 < width < rgb.shape[1]:
        return rgb
    height = max(1, round(rgb.shape[0] * width / rgb.shape[1]))
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
