"""What a run draws: the overlay video and palette masks, from results and a second look at the source."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from fewmask.exports.davis import frame_stems, write_davis_frame, write_pixel_values
from fewmask.media.atomic import whole_file
from fewmask.media.final_ids import AppearanceIds
from fewmask.media.frame_names import frame_name
from fewmask.media.frames import Frame, FrameSource, open_frames
from fewmask.media.overlay import draw
from fewmask.media.results import FrameResult
from fewmask.media.writer import VideoWriter

_JPEG_QUALITY = 95
IMAGES_FPS = 10.0  # of the overlay where the source has no rate


class Overlay:
    """``overlay.mp4`` of a finished run; the source is decoded once more, in step with the results."""

    def __init__(
        self, path: Path, source: str | Path | int, categories: Mapping[int, str], *, skip_broken: bool
    ) -> None:
        self._path, self._source, self._categories, self._skip_broken = path, source, categories, skip_broken
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
                self._video.write(draw(frame.rgb, result, self._categories))
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class FrameFiles:
    """``images/NAME/00000.jpg`` ... of a run: its frames as pictures, upright and decoded as the method saw them."""

    def __init__(self, folder: Path, name: str, source: str | Path | int, *, skip_broken: bool) -> None:
        self._folder, self._name, self._source, self._skip_broken = folder, name, source, skip_broken
        self._stack = ExitStack()
        self._frames: Iterator[Frame] | None = None

    def add(self, result: FrameResult) -> None:
        """Write one frame; results come in order and may leave frames out."""
        if self._frames is None:
            source = self._stack.enter_context(open_frames(self._source, skip_broken=self._skip_broken))
            self._frames = iter(source)
        for frame in self._frames:
            if frame.index == result.index:
                with whole_file(self._folder / frame_name(self._name, frame.index)) as temporary:
                    Image.fromarray(frame.rgb).save(temporary, format="JPEG", quality=_JPEG_QUALITY)
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class PaletteMasks:
    """``masks/`` of a run: DAVIS palette PNGs, pixel value = track id (see `write_pixel_values` and `frame_stems`)."""

    def __init__(self, folder: Path, track_ids: list[int], file_names: Sequence[str] | None = None) -> None:
        self._folder = folder
        self._stems = frame_stems(file_names)
        self._values = write_pixel_values(folder.parent.name, track_ids, folder)

    def add(self, result: FrameResult) -> None:
        """Write one frame."""
        write_davis_frame(result, self._values, self._folder, self._stems)


class LiveOverlay:
    """The overlay of a source that cannot be read twice: drawn at once, with the tracks known at the time.

    Args:
        min_score: tracks below it at the time are left out.
        ids: of the tracks drawn; the files written later keep them.
    """

    def __init__(
        self, path: Path, frames: FrameSource, categories: Mapping[int, str], min_score: float, ids: AppearanceIds
    ) -> None:
        self._video = VideoWriter(path, frames.size, frames.fps or IMAGES_FPS)
        self._frames, self._categories, self._min_score, self._ids = frames, categories, min_score, ids
        self._in_flight: dict[int, Frame] = {}

    def __iter__(self) -> Iterator[Frame]:
        """The source's frames; those not drawn yet are kept, a batch or two."""
        for frame in self._frames:
            self._in_flight[frame.index] = frame
            yield frame

    def add(self, result: FrameResult) -> None:
        """Draw one frame."""
        frame = self._in_flight.pop(result.index)
        shown = result.rows(row for row, score in enumerate(result.scores) if score >= self._min_score)
        self._video.write(draw(frame.rgb, self._ids.number(shown), self._categories))

    def close(self) -> None:
        """Complete the file."""
        self._video.close()
