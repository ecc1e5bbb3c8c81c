"""Frames to an H.264 file that every player takes."""

from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np

from fewmask.errors import FewmaskError, VideoError
from fewmask.media.atomic import whole_file
from fewmask.media.container import reason
from fewmask.media.frame_source import RgbImage
from fewmask.media.h264 import repeatable

_OPTIONS = repeatable({"crf": "20", "preset": "veryfast"})


MAX_SIDE = 16_384
"""Pixels, of what H.264 is coded to."""


def check_writable(size: tuple[int, int], what: str) -> None:
    """Refuse a frame size (height, width) that `VideoWriter` could not write, before the work begins.

    Raises:
        VideoError: a side is longer than `MAX_SIDE`.
    """
    if max(size) > MAX_SIDE:
        raise VideoError(f"{what}: {size[1]}x{size[0]} is more than a video can be, {MAX_SIDE} on either side")


class VideoWriter:
    """An mp4 that appears under its name when it is complete: ``with VideoWriter(path, size, fps) as w: w.write(rgb)``.

    H.264, yuv420p, constant rate, no sound; equal pictures give equal bytes. Odd sizes get one more row or column, a
    copy of the last. Leaving the block with an exception leaves no file; call ``close()`` first to keep what was
    written.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], fps: float) -> None:
        """Open the file.

        Args:
            path: ends with .mp4 (or another suffix FFmpeg knows a container with H.264 for).
            size: (height, width) of the frames to come.
            fps: frames per second, above 0.

        Raises:
            VideoError: the size or rate is impossible, or the file cannot be written.
        """
        self.path = Path(path)
        self._size = size
        self._written = 0
        if not fps > 0 or min(size) < 1:
            raise VideoError(f"{self.path}: cannot write {size[1]}x{size[0]} at {fps} frames per second")
        check_writable(size, str(self.path))
        try:
            with ExitStack() as stack:
                temporary = stack.enter_context(whole_file(self.path))
                self._container = av.open(str(temporary), "w", options={"movflags": "faststart"})
                stack.callback(self._container.close)
                self._stream = self._container.add_stream(
                    "libx264", rate=Fraction(fps).limit_denominator(60000), options=_OPTIONS
                )
                self._stack = stack.pop_all()
        except (av.FFmpegError, FewmaskError, OSError, ValueError) as error:
            raise self._not_written(error) from error
        self._stream.height, self._stream.width = (length + length % 2 for length in size)
        self._stream.pix_fmt = "yuv420p"
        self._is_open = True

    def write(self, rgb: RgbImage) -> None:
        """Append a frame uint8 [H, W, 3].

        Raises:
            VideoError: it has another size, or the disk is full.
        """
        if rgb.shape != (*self._size, 3):
            raise VideoError(
                f"{self.path}: frame {self._written} has shape {list(rgb.shape)}, expected {[*self._size, 3]}"
            )
        bottom, right = (length % 2 for length in self._size)
        even = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_REPLICATE) if bottom or right else rgb
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame.pts = self._written
        self._encode(frame)
        self._written += 1

    def close(self) -> None:
        """Complete the file; closing twice is allowed.

        Raises:
            VideoError: no frame was written, or the disk is full; there is no file then.
        """
        if not self._is_open:
            return
        if self._written == 0:
            self._discard()
            raise VideoError(f"{self.path}: no frame was written, so there is no video")
        self._encode(None)
        self._is_open = False
        try:
            self._stack.close()
        except (av.FFmpegError, FewmaskError) as error:
            raise self._not_written(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._discard()

    def _encode(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except av.FFmpegError as error:
            self._discard()
            raise self._not_written(error) from error

    def _discard(self) -> None:
        """Leave no file behind."""
        if self._is_open:
            self._is_open = False
            with suppress(_DiscardedError), self._stack:
                raise _DiscardedError

    def _not_written(self, error: Exception) -> VideoError:
        return VideoError(f"{self.path}: cannot be written ({reason(error)}); choose another name or folder")


class _DiscardedError(Exception):
    """Thrown into the file being written, so that it is dropped."""
