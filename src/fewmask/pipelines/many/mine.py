"""`fewmask many mine`: the frames of a video shared out in parts, its selection made once, one dataset of them all.

Proposals of a frame need nothing but the frame, so parts are exact: the dataset is the one that `fewmask mine` makes.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewmask.errors import VideoError
from fewmask.media.identity import identity
from fewmask.media.result_store import ResultStore, is_remote
from fewmask.media.run_directory import RunDirectory
from fewmask.mining.flow import FlowEstimator
from fewmask.mining.frame_candidates import BackgroundEstimator
from fewmask.mining.mine_videos import write_dataset
from fewmask.mining.proposals import Proposer
from fewmask.mining.settings import MiningSettings
from fewmask.mining.video_job import Job, Looked, choose, look
from fewmask.pipelines.many.manifest import ListedVideo, check_names
from fewmask.pipelines.many.once import Bench, Crew, Made, Unit, UnitDone, once, settle
from fewmask.pipelines.many.parts import PARTS, PlanStep, planned
from fewmask.pipelines.mine import all_weights, background_of, flow_of, mining_settings, proposer_of
from fewmask.pipelines.mine_request import MineRequest

MINED = "mined"
"""Folder of the place with the dataset."""


@dataclass(frozen=True)
class LookStep:
    """Stage 1 of a part: candidates of its frames, and the pictures that enter the dataset."""

    proposer: Callable[[], Proposer]
    background: Callable[[], BackgroundEstimator]
    settings: MiningSettings

    def start(self) -> Callable[[Unit, Bench], Made]:
        """See `Step`."""
        proposer, background = self.proposer(), self.background()

        def work(unit: Unit, bench: Bench) -> Made:
            job = Job(unit.name, str(bench.source()), bench.folder)
            looked = look(job, proposer, background, self.settings, first=unit.first, stop=unit.stop)
            if looked.note is not None and not looked.frames and not unit.first:
                raise VideoError(looked.note)  # no video, or not now: asked again by the next run
            files = {f"{unit.key}/frames.spool": job.candidates}
            pictures = job.image(0).parent
            for path in sorted(pictures.iterdir()) if pictures.is_dir() else []:
                files[f"{MINED}/images/{unit.name}/{path.name}"] = path
            return Made(files, {"fps": looked.fps, "note": looked.note})

        return work


@dataclass(frozen=True)
class ChooseStep:
    """Stage 2 of a video: the selection over the candidates of all its parts."""

    flow: Callable[[], FlowEstimator]
    settings: MiningSettings

    def start(self) -> Callable[[Unit, Bench], Made]:
        """See `Step`."""
        flow = self.flow()

        def work(unit: Unit, bench: Bench) -> Made:
            spools = []
            for number, name in enumerate(unit.needs):  # a spool is locked while it is read, so of one's own
                spools.append(bench.folder / f"{number}.spool")
                shutil.copyfile(bench.fetch(name), spools[-1])
            job = Job(unit.name, unit.source, bench.folder)
            looked = Looked(unit.facts["fps"], unit.facts["note"])
            video = choose(job, spools, looked, flow, self.settings)
            masks = sum(len(frame) for frame in video.frames)
            facts = {"frames": len(video.frames), "masks": masks, "note": video.note}
            return Made({f"{MINED}/results/{unit.name}.json": job.result}, facts)

        return work


def mining_steps(request: MineRequest) -> tuple[LookStep, ChooseStep]:
    """The steps of a request; device "auto" is settled by each worker.

    Raises:
        FewmaskError: anything wrong with the request.
    """
    settings, device = mining_settings(request), request.device
    look_step = LookStep(proposer_of(request, device, settings.proposals), background_of(request, device), settings)
    return look_step, ChooseStep(flow_of(request, device), settings)


def mining_identity(request: MineRequest) -> dict[str, Any]:
    """What decides the result beside the settings: estimators, and the contents of their weights."""
    return {"proposer": request.proposals, "flow": request.flow, **identity(all_weights(request))}


@dataclass(frozen=True)
class MinedMany:
    """What came of a run: the dataset's place, tracks to review, masks, videos in it, and problems by video."""

    place: str
    tracks: int
    masks: int
    videos: int
    problems: dict[str, str]


def mine_many(
    videos: Sequence[ListedVideo],
    steps: tuple[LookStep, ChooseStep],
    crew: Crew,
    *,
    made_with: dict[str, Any],
    part_seconds: float = 600.0,
    report: Callable[[UnitDone, int, int], None] = lambda *_: None,
    command: Sequence[str] = ("many", "mine"),
) -> MinedMany:
    """Mine what has not been mined yet, and write the dataset ``mined`` of the place.

    Args:
        videos: of the manifest.
        steps: stage 1 and stage 2.
        crew: who does it, and where results go.
        made_with: of `mining_identity`; estimators and weights, which decide the result beside the settings.
        part_seconds: longer videos are divided; changes nothing of the result.
        report: told (outcome, units done, units known so far).
        command: as typed, for the manifest of the dataset.

    Raises:
        ConfigError: the place holds results of other settings.
        VideoError: no video could be read.
        FewmaskError: as `once`.
    """
    check_names(videos)
    settings, store = steps[0].settings, ResultStore(crew.place)
    given = {**made_with, **settings.model_dump()}
    settle(crew.place, {"verb": "mine", **given, "part_seconds": part_seconds})
    with tempfile.TemporaryDirectory(prefix="fewmask-") as scratch:
        root = Path(scratch) if is_remote(store.place) else Path(store.place)
        with RunDirectory.create(root / MINED, command=command, inputs={}, settings=given, resume=True) as run:
            found = _mined(videos, steps, crew, part_seconds, report)
            if not found.names:
                first = next(iter(found.problems.values()))
                raise VideoError(f"none of the {len(videos)} videos could be read; {first}")
            for name in found.files:
                store.fetch(name, root)
            run.update({"names": found.names})
            results = [run.path / "results" / f"{name}.json" for name in found.names]
            tracks = write_dataset(run.path, results, settings)
            run.update({"tracks_to_review": tracks})
            run.finish()
        if is_remote(store.place):
            for path in sorted((root / MINED).rglob("*")):
                name = path.relative_to(root).as_posix()
                if path.is_file() and name not in found.files and not path.name.startswith("."):
                    store.write(name, path)
    return MinedMany(f"{store.place}/{MINED}", tracks, found.masks, len(found.names), found.problems)


@dataclass
class _Found:
    """What the workers found: videos in order, files of the dataset, masks, problems by video."""

    names: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    masks: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def _mined(
    videos: Sequence[ListedVideo],
    steps: tuple[LookStep, ChooseStep],
    crew: Crew,
    part_seconds: float,
    report: Callable[[UnitDone, int, int], None],
) -> _Found:
    settings, found = steps[0].settings, _Found()
    units: list[Unit] = []
    for plan, parts in planned(videos, PlanStep(part_seconds, settings.frame_step * settings.keep_every), crew):
        units += parts
        report(plan, len(units), len(units))
    looked: dict[str, list[UnitDone]] = {video.name: [] for video in videos}
    for number, part in enumerate(once(units, steps[0], crew), 1):
        looked[part.unit.name].append(part)
        if part.problem is not None:
            found.problems.setdefault(part.unit.name, part.problem)
        report(part, number, len(units))
    whole = [_whole(parts) for name, parts in looked.items() if name not in found.problems]
    for number, video in enumerate(once(whole, steps[1], crew), 1):
        report(video, number, len(whole))
        name = video.unit.name
        if (why := video.problem or video.facts.get("note")) is not None:
            found.problems[name] = str(why)
        if video.problem is None:
            found.names.append(name)
            found.masks += int(video.facts["masks"])
            found.files |= {file for done in (*looked[name], video) for file in done.files if file.startswith(MINED)}
    return found


def _whole(parts: Sequence[UnitDone]) -> Unit:
    """A video as one unit; what comes after a part that broke off is as if it were not there, as in one pass."""
    first = parts[0].unit
    notes = [part.facts["note"] for part in parts]
    count = next((number for number, note in enumerate(notes, 1) if note is not None), len(parts))
    return Unit(
        f"{PARTS}/{first.name}/selection", first.name, first.source,
        needs=tuple(f"{part.unit.key}/frames.spool" for part in parts[:count]),
        facts={"fps": parts[0].facts["fps"], "note": notes[count - 1]},
    )  # fmt: skip
