"""`fewmask many segment`: every video as `fewmask segment` does it."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fewmask.pipelines.many.manifest import ListedVideo
from fewmask.pipelines.many.once import Bench, Crew, Made, Unit, UnitDone, once, settle
from fewmask.pipelines.segment_request import RunOptions, SegmentRequest


@dataclass(frozen=True)
class SegmentStep:
    """One video is one unit; its files lie in a folder of its name.

    Attributes:
        request: the method.
        run: source and folder in it are replaced video by video.
    """

    request: SegmentRequest
    run: RunOptions

    def start(self) -> Callable[[Unit, Bench], Made]:
        """See `Step`."""
        return self._segment

    def _segment(self, unit: Unit, bench: Bench) -> Made:
        from fewmask.media.video_facts import VideoFacts
        from fewmask.pipelines.segment import run_segment

        run = bench.folder / "run"
        summary = run_segment(replace(self.run, source=str(bench.source()), out=run), self.request)
        files = {f"{unit.name}/{path.relative_to(run).as_posix()}": path for path in _files(summary.files)}
        fps = VideoFacts.read(run).fps
        return Made(files, {"frames": summary.frames, "video_s": summary.frames / fps if fps else 0.0})


def segment_many(videos: Sequence[ListedVideo], step: SegmentStep, crew: Crew) -> Generator[UnitDone, None, None]:
    """Segment every video that has no result yet; what becomes of each, in their order.

    Raises:
        ConfigError: the place holds results of other settings.
        FewmaskError: as `once`.
    """
    from fewmask.media.identity import identity
    from fewmask.minvis.pretrained import folder_of
    from fewmask.models.weights_input import weights_input

    run = step.run
    outputs = {name: getattr(run, name) for name in ("overlay", "masks", "min_score", "exports")}
    weights = identity({"weights": weights_input(folder_of(run.weights))})
    method = {"verb": "segment", "method": type(step.request).__name__, **asdict(step.request)}
    settle(crew.place, {**method, **weights, **outputs})
    return once([Unit(video.name, video.name, video.source) for video in videos], step, crew)


def _files(given: Iterable[Path]) -> list[Path]:
    """The files themselves, those of folders too."""
    found = []
    for path in given:
        found += sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]
    return found
