"""``overlay.mp4``: a video with its tracks drawn on it, from finished results and a second look at the source."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from fewmask.media.frames import Frame, open_frames
from fewmask.media.overlay import draw
from fewmask.media.results import FrameResult
from fewmask.media.writer import VideoWriter

IMAGES_FPS = 10.0  # where the source has no rate


class Overlay:
    """``overlay.mp4`` of a finished run; the source is decoded once more, in step with the results."""

    def __init__(
        self,
        path: Path,
        source: str | Path | int,
        categories: Mapping[int, str],
        *,
        skip_broken: bool,
        hidden: Collection[int] = (),
        scores: bool = False,
    ) -> None:
        self._path, self._source, self._categories, self._skip_broken = path, source, categories, skip_broken
        self._hidden, self._scores = hidden, scores
        self._stack = ExitStack()
        self._frames: Iterator[Frame] = iter(())
        self._video: VideoWriter | None = None

    def add(self, result: FrameResult) -> None:
        """Draw one frame; results come in order and may leave frames out."""
        if self._video is None:
            source = self._stack.enter_context(open_frames(self._source, skip_broken=self._skip_broken))
            self._frames = iter(source)
            self._video = self._stack.enter_context(VideoWriter(self._path, source.size, source.fps or IMAGES_FPS))
        for frame in self._frames:
            if frame.index == result.index:
                seen = result.rows(row for row, track in enumerate(result.track_ids) if track not in self._hidden)
                self._video.write(draw(frame.rgb, seen, self._categories, scores=self._scores))
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
