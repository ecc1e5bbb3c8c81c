"""What a run draws: the overlay video and palette masks, from results and a second look at the source."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from fewmask.exports.davis import frame_stems, write_davis_frame, write_pixel_values
from fewmask.exports.overlay_video import IMAGES_FPS
from fewmask.exports.run_outputs import Outputs
from fewmask.media.atomic import whole_file
from fewmask.media.final_ids import AppearanceIds
from fewmask.media.frame_names import frame_name
from fewmask.media.frames import Frame, FrameSource, open_frames
from fewmask.media.hidden_tracks import TrackClutter
from fewmask.media.overlay import draw
from fewmask.media.results import FrameResult
from fewmask.media.writer import VideoWriter

_JPEG_QUALITY = 95


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
        outputs: which tracks are drawn, by what is known at the time.
        ids: of the tracks drawn; the files written later keep them.
    """

    def __init__(
        self, path: Path, frames: FrameSource, categories: Mapping[int, str], outputs: Outputs, ids: AppearanceIds
    ) -> None:
        self._video = VideoWriter(path, frames.size, frames.fps or IMAGES_FPS)
        self._frames, self._categories, self._outputs, self._ids = frames, categories, outputs, ids
        self._clutter = TrackClutter()
        self._in_flight: dict[int, Frame] = {}

    def __iter__(self) -> Iterator[Frame]:
        """The source's frames; those not drawn yet are kept, a batch or two."""
        for frame in self._frames:
            self._in_flight[frame.index] = frame
            yield frame

    def add(self, result: FrameResult) -> None:
        """Draw one frame."""
        frame = self._in_flight.pop(result.index)
        shown = result.rows(row for row, score in enumerate(result.scores) if score >= self._outputs.min_score)
        if not self._outputs.all_tracks:
            self._clutter.add(shown)
            best_first = [pair[1] for pair in sorted(zip(shown.scores, shown.track_ids, strict=True), reverse=True)]
            hidden = self._clutter.hidden(best_first).ids
            shown = shown.rows(row for row, name in enumerate(shown.track_ids) if name not in hidden)
        scores = self._outputs.scores
        self._video.write(draw(frame.rgb, self._ids.number(shown), self._categories, scores=scores))

    def close(self) -> None:
        """Complete the file."""
        self._video.close()
