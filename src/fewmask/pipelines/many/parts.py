"""Long videos cut into parts, so that many workers share one: how long a video is, told from its header alone."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.media.result_store import opened_source
from fewmask.pipelines.many.manifest import ListedVideo
from fewmask.pipelines.many.once import Bench, Crew, Made, Unit, UnitDone, once

PARTS = "parts"
"""Folder of the place with the markers and unfinished work of every video."""


@dataclass(frozen=True)
class PlanStep:
    """The frames of a video and its edges; reads the header of a file, and of a store no more than that.

    Attributes:
        seconds: length of a part.
        multiple: parts begin at multiples of so many frames.
    """

    seconds: float
    multiple: int = 1

    def start(self) -> Callable[[Unit, Bench], Made]:
        """See `Step`."""
        return self._plan

    def _plan(self, unit: Unit, _bench: Bench) -> Made:
        frames, fps = _length(unit.source)
        if not frames or not fps:  # folders of pictures, streams without an index: one part
            return Made({}, {"starts": [0], "ends_s": [0.0]})
        step = max(1, round(self.seconds * fps / self.multiple)) * self.multiple
        starts = list(range(0, max(1, frames - step // 2), step))  # no part below half a length but the only one
        return Made({}, {"starts": starts, "ends_s": [end / fps for end in (*starts[1:], frames)]})


def planned(
    videos: Sequence[ListedVideo], step: PlanStep, crew: Crew
) -> Generator[tuple[UnitDone, list[Unit]], None, None]:
    """The units of every video's parts, in order, beside the outcome of planning it.

    Raises:
        FewmaskError: as `once`.
    """
    units = [Unit(f"{PARTS}/{video.name}/plan", video.name, video.source) for video in videos]
    for done in once(units, step, crew):
        yield done, _parts(done.unit, done.facts.get("starts", [0]), done.facts.get("ends_s", [0.0]))


def _parts(video: Unit, starts: Sequence[int], ends_s: Sequence[float]) -> list[Unit]:
    return [
        Unit(
            f"{PARTS}/{video.name}/{number:04d}", video.name, video.source, first, stop,
            facts={"video_s": end - begin},
        )
        for number, (first, stop, begin, end) in enumerate(
            zip(starts, [*starts[1:], None], [0.0, *ends_s[:-1]], ends_s, strict=True)
        )
    ]  # fmt: skip


def _length(source: str) -> tuple[int | None, float | None]:
    """Frames and their rate as the header states them, None where it does not; a wrong header only moves an edge."""
    import av

    from fewmask.errors import VideoError
    from fewmask.media.container import mean_fps, video_stream
    from fewmask.media.packet_times import declared_length

    if "://" not in source and not Path(source).is_file():
        return None, None
    try:
        with opened_source(source) as handle, av.open(handle) as container:
            stream: Any = video_stream(container, source)
            fps = mean_fps(stream)
            frames = declared_length(stream) or stream.frames or None
            if frames is None and fps and container.duration:
                frames = round(container.duration / 1_000_000 * fps)
            return frames, fps
    except (VideoError, av.FFmpegError):
        return None, None  # whoever reads the video says what is wrong with it
