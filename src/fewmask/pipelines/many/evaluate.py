"""`fewmask many eval`: results measured by many workers, a video at a time, and the published figures of them all."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fewmask.addresses import is_address, showable
from fewmask.datasets.ytvis import read_ytvis, read_ytvis_results
from fewmask.datasets.ytvis_types import YtvisDataset, YtvisVideo
from fewmask.errors import DatasetError
from fewmask.media.identity import identity
from fewmask.media.own_files import reading_arrays
from fewmask.media.result_store import ResultStore, fetched
from fewmask.metrics.davis import ObjectScores, davis_figures, evaluate_davis
from fewmask.metrics.joined_matches import join_matches, read_matches, write_matches
from fewmask.metrics.mean_recall_decay import FrameStatistics
from fewmask.metrics.track_matching import match_tracks
from fewmask.metrics.ytvis import AREAS, ytvis_figures
from fewmask.pipelines.many.manifest import ListedVideo
from fewmask.pipelines.many.once import Bench, Crew, Made, Step, Unit, UnitDone, once, settle


@dataclass(frozen=True)
class TracksStep:
    """YouTube-VIS: the matches of one video.

    Attributes:
        gt: path or address of the ground truth; each worker reads it once.
        pred: folder or address with NAME/tracks.json, as `fewmask many segment` leaves them.
        class_agnostic: one class.
    """

    gt: str
    pred: str
    class_agnostic: bool = False

    def start(self) -> Callable[[Unit, Bench], Made]:
        """See `Step`."""
        dataset: YtvisDataset | None = None
        predictions = ResultStore(self.pred)

        def work(unit: Unit, bench: Bench) -> Made:
            nonlocal dataset
            if dataset is None:
                dataset = read_ytvis(fetched(self.gt, bench.folder))
            video = _video_called(unit.name, dataset)
            alone = replace(
                dataset, videos=(video,), annotations=tuple(a for a in dataset.annotations if a.video_id == video.id)
            )
            found = read_ytvis_results(
                predictions.fetch(f"{unit.name}/tracks.json", bench.folder),
                replace(alone, videos=(replace(video, id=1),)),  # a run knows no other video
                any_category=self.class_agnostic,
            )
            results = [replace(result, video_id=video.id) for result in found]
            path = bench.folder / "matches.npz"
            write_matches(path, match_tracks(alone, results, AREAS, class_agnostic=self.class_agnostic))
            return Made({f"{unit.key}/matches.npz": path}, {"tracks": len(results)})

        return work


@dataclass(frozen=True)
class DavisStep:
    """DAVIS: J and F of the objects of one video.

    Attributes:
        gt: folder or address with NAME/FRAME.png.
        pred: the same, or with NAME/masks/FRAME.png, as `fewmask many segment --masks` leaves them.
        unsupervised: ids are assigned.
    """

    gt: str
    pred: str
    unsupervised: bool = True

    def start(self) -> Callable[[Unit, Bench], Made]:
        """See `Step`."""

        def work(unit: Unit, bench: Bench) -> Made:
            gt = _folder_of_maps(ResultStore(self.gt), unit.name, bench.folder / "gt")
            pred = _folder_of_maps(ResultStore(self.pred), unit.name, bench.folder / "pred")
            scores = [
                replace(score, video=unit.name) for score in evaluate_davis(gt, pred, unsupervised=self.unsupervised)
            ]
            path = bench.folder / "scores.json"
            path.write_text(
                json.dumps([{"object": s.object, "J": asdict(s.J), "F": asdict(s.F)} for s in scores], sort_keys=True)
            )
            return Made({f"{unit.key}/scores.json": path}, {"objects": len(scores)})

        return work


@dataclass(frozen=True)
class MeasuredMany:
    """The figures over the videos that could be measured, and why the others could not."""

    figures: dict[str, float | None]
    videos: int
    problems: dict[str, str] = field(default_factory=dict)


def evaluate_many(
    videos: Sequence[ListedVideo],
    step: TracksStep | DavisStep,
    crew: Crew,
    *,
    report: Callable[[UnitDone, int, int], None] = lambda *_: None,
) -> MeasuredMany:
    """Measure what has not been measured yet, and put it together.

    Args:
        videos: of the manifest, whose names alone matter here.
        step: how a video is measured.
        crew: who does it, and where what was measured goes.
        report: told (outcome, videos done, videos).

    Raises:
        ConfigError: the place holds figures of other predictions or another ground truth.
        DatasetError: no video could be measured.
        FewmaskError: as `once`.
    """
    given = {"pred": showable(step.pred), **{k: v for k, v in asdict(step).items() if k not in {"gt", "pred"}}}
    settle(crew.place, {"verb": "eval", "task": type(step).__name__, "gt": _told(step.gt), **given})
    done: list[UnitDone] = []
    units = [Unit(f"eval/{video.name}", video.name, video.source) for video in videos]
    spread: Step = step
    for unit in once(units, spread, crew):
        done.append(unit)
        report(unit, len(done), len(units))
    measured = [unit for unit in done if unit.problem is None]
    problems = {unit.unit.name: unit.problem for unit in done if unit.problem is not None}
    if not measured:
        raise DatasetError(f"none of the {len(videos)} videos could be measured; {next(iter(problems.values()))}")
    store = ResultStore(crew.place)
    join = _tracks_figures if isinstance(step, TracksStep) else _davis_figures
    return MeasuredMany(join(store, measured), len(measured), problems)


def _tracks_figures(store: ResultStore, measured: Sequence[UnitDone]) -> dict[str, float | None]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="fewmask-") as scratch:
        parts = [read_matches(store.fetch(unit.files[0], Path(scratch))) for unit in measured]
    return ytvis_figures(join_matches(parts))


def _davis_figures(store: ResultStore, measured: Sequence[UnitDone]) -> dict[str, float | None]:
    none = np.zeros(0)
    scores = []
    for unit in measured:
        path = Path(unit.files[0])
        with reading_arrays(path, f"delete {unit.unit.key} and measure it again"):
            for row in json.loads(store.read(unit.files[0]) or b"[]"):
                j, f = FrameStatistics(**row["J"]), FrameStatistics(**row["F"])
                scores.append(ObjectScores(unit.unit.name, row["object"], j, f, none, none))
    return davis_figures(scores)


def _told(gt: str) -> Any:
    return identity(gt) if is_address(gt) or Path(gt).is_file() else {"path": gt}


def _video_called(name: str, dataset: YtvisDataset) -> YtvisVideo:
    """The video whose frames lie in a folder of that name, or whose number it is.

    Raises:
        DatasetError: there is none.
    """
    for video in dataset.videos:
        if video.file_names and PurePosixPath(video.file_names[0]).parent.name == name:
            return video
    for video in dataset.videos:
        if str(video.id) == name:
            return video
    raise DatasetError(f"the ground truth has no video {name!r}; name videos in the manifest as it does: name,source")


def _folder_of_maps(store: ResultStore, name: str, folder: Path) -> Path:
    """The label maps of a video in a folder of this machine.

    Raises:
        DatasetError: there are none.
    """
    for inner in (name, f"{name}/masks"):
        files = [file for file in store.names(inner) if PurePosixPath(file).parent == PurePosixPath(inner)]
        maps = [store.fetch(file, folder) for file in files if file.endswith(".png")]
        if maps:
            return maps[0].parent
    raise DatasetError(f"{showable(store.place)}: no label maps of the video {name!r}")
