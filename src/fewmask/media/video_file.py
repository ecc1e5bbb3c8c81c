"""Frames from a video file, or from an address that serves one."""

import stat
from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import av

from fewmask.errors import VideoError
from fewmask.media.container import mean_fps, open_container, upright_rgb, upright_size, used_bits
from fewmask.media.decoding import Decoded, Decoding
from fewmask.media.frame_source import ClosesAtExit, Frame
from fewmask.media.matroska import is_cut_short
from fewmask.media.packet_times import declared_length


class VideoFile(ClosesAtExit):
    """A finite video as frames; see `fewmask.media.frames.open_frames`.

    Decoding is threaded until the first damage. From there it goes on with one thread, because only then does the
    decoder tell which frame an error belongs to and lose no good frame with it.
    """

    def __init__(
        self,
        address: str,
        shown: str,
        name: str,
        *,
        start: int = 0,
        skip_broken: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        self.name = name
        self.is_live = False
        self.file_names: tuple[str, ...] | None = None
        self.broken: list[int] = []
        self._address = address
        self._path: Path | None = None
        self._shown = shown
        self._skip_broken = skip_broken
        self._timeout_s = timeout_s
        self._decoding = Decoding(self._open, keep_traces=skip_broken)
        stream = self._decoding.stream
        self.fps = mean_fps(stream)
        self.length = declared_length(stream)
        self.estimated_length = self.length if self.length is not None else _guessed_length(stream, self.fps)
        frames = self._decoded_from(0)
        first, lost = self._first_frame(frames)
        self.size = upright_size(first[1])
        self._bits = used_bits(first[1], shown)
        self._first_pts = first[1].pts
        if start:
            frames.close()
            self._frames = self._checked(self._decoded_from(start), start)
        else:
            self.broken.extend(lost)
            self._frames = self._checked(chain([first], frames), 0)

    @classmethod
    def from_path(cls, path: Path, *, start: int = 0, skip_broken: bool = False) -> "VideoFile":
        """Open a local file.

        Raises:
            VideoError: it is empty, no video, or its first frame cannot be decoded.
        """
        try:
            facts = path.stat()
        except OSError as error:
            raise VideoError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        if not stat.S_ISREG(facts.st_mode):
            raise VideoError(f"{path}: is a pipe or device; save what comes out of it to a file, or give its address")
        if facts.st_size == 0:
            raise VideoError(f"{path}: the file is empty (0 bytes); fetch it again")
        video = cls(f"file:{path}", str(path), path.stem, start=start, skip_broken=skip_broken)
        video._path = path
        return video

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Release the file; closing twice is allowed."""
        self._frames.close()
        self._decoding.close()

    def _open(self) -> Any:
        return open_container(self._address, self._shown, timeout_s=self._timeout_s)

    def _first_frame(self, frames: Iterator[Decoded]) -> tuple[Decoded, list[int]]:
        lost: list[int] = []
        for index, frame in frames:
            if frame is not None:
                return (index, frame), lost
            if not self._skip_broken:
                self._decoding.close()
                raise VideoError(self._broken_message(index))
            lost.append(index)
        self._decoding.close()
        raise VideoError(f"{self._shown}: no frame can be decoded; check that it plays, or fetch it again")

    def _decoded_from(self, start: int) -> Generator[Decoded, None, None]:
        """Frames and broken places from ``start`` on, with threads until the first damage."""
        wanted = start
        if start:
            self._decoding.restart(start, threads=True)
        try:
            for index, frame in self._decoding.run(start):
                if frame is None:
                    break  # see what it is with one thread
                yield index, frame
                wanted = index + 1
            else:
                if not self._decoding.lost_some_after(wanted):
                    return
        except av.FFmpegError:
            pass
        while True:
            self._decoding.restart(wanted, threads=False)
            try:
                for index, frame in self._decoding.run(wanted):
                    yield index, frame
                    wanted = index + 1
            except av.FFmpegError:
                continue
            return

    def _checked(self, frames: Iterator[Decoded], start: int) -> Generator[Frame, None, None]:
        """Frames as the user sees them; raises where the policy says so."""
        following = start
        for index, frame in frames:
            following = index + 1
            if frame is None:
                if not self._skip_broken:
                    raise VideoError(self._broken_message(index))
                self.broken.append(index)
                continue
            if upright_size(frame) != self.size:
                height, width = upright_size(frame)
                raise VideoError(
                    f"{self._shown}: frame {index} is {width}x{height}, those before it "
                    f"{self.size[1]}x{self.size[0]}; convert the video to one size"
                )
            yield Frame(index, self._time_of(index, frame), upright_rgb(frame, self._bits))
        self._check_end(following)

    def _check_end(self, following: int) -> None:
        """Raise when the file should have gone on with frame ``following``, or note what is missing as broken."""
        declared = self.length if self.length is not None and self._decoding.packets_read < self.length else None
        if self._decoding.read_error is not None:
            problem = f"cannot be read ({self._decoding.read_error})"
        elif declared is not None and self._skip_broken:
            self.broken.extend(range(following, declared))
            return
        elif declared is not None:
            problem = f"is missing: the file is cut short, its index tells of {declared} frames"
        elif self._path is not None and not self._skip_broken and is_cut_short(self._path):
            problem = "is missing: the file is cut short"
        else:
            return
        raise VideoError(
            f"{self._shown}: frame {following} {problem}; fetch the file again, or use the frames before it"
        )

    def _time_of(self, index: int, frame: Any) -> float:
        if frame.pts is None or self._first_pts is None:
            return index / self.fps if self.fps else float(index)
        return float((frame.pts - self._first_pts) * self._decoding.stream.time_base)

    def _broken_message(self, index: int) -> str:
        if self._decoding.cut_short:
            return f"{self._shown}: frame {index} is missing, the file is cut short; fetch it again"
        return f"{self._shown}: frame {index} is broken and cannot be decoded; repair the video, or skip broken frames"


def _guessed_length(stream: Any, fps: float | None) -> int | None:
    duration = stream.duration * stream.time_base if stream.duration else None
    if duration is None and stream.container.duration:
        duration = stream.container.duration / av.time_base
    return max(1, round(float(duration) * fps)) if duration and fps else None
