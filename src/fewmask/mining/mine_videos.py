"""`mine`: unlabelled videos in, a dataset of selected masks out."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, PositiveInt

from fewmask.addresses import address_name, is_address
from fewmask.errors import ConfigError, VideoError
from fewmask.media.own_files import read_json
from fewmask.media.run_directory import RunDirectory
from fewmask.media.writer_lock import WriterLock
from fewmask.mining.background_net import BackgroundNet
from fewmask.mining.flow import DisFlow, FlowEstimator
from fewmask.mining.frame_candidates import BackgroundEstimator
from fewmask.mining.mined_dataset import in_order, write_annotations, write_exports
from fewmask.mining.mined_video import VideoName
from fewmask.mining.proposals import Proposer
from fewmask.mining.review_page import read_decisions, write_review_page
from fewmask.mining.settings import MiningSettings
from fewmask.mining.video_job import Job
from fewmask.mining.workers import VideoOutcome, make_tools, outcomes_of


@dataclass(frozen=True)
class MiningSummary:
    """What a run found: one outcome per video in the order given, and the number of tracks in the dataset."""

    out: Path
    videos: tuple[VideoOutcome, ...]
    tracks_to_review: int


def mine(
    videos: Sequence[str | Path],
    out: str | Path,
    *,
    proposer: Callable[[], Proposer],
    background: Callable[[], BackgroundEstimator] = BackgroundNet.from_pretrained,
    flow: Callable[[], FlowEstimator] = DisFlow,
    settings: MiningSettings | None = None,
    workers: int = 1,
    ray: str | None = None,
    resume: bool = False,
    command: Sequence[str] = ("mine",),
    identity: dict[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
    report: Callable[[VideoOutcome, int, int], None] = lambda *_: None,
    progress: Callable[[str, str, int], None] = lambda *_: None,
) -> MiningSummary:
    """Select masks over every video (Eq. 11, both stages) and write them as a dataset.

    The folder gets ``instances.json`` (COCO) and ``ytvis.json`` over ``images/``, ``review.html`` with
    ``thumbnails/``, ``cvat/``, ``label_studio/``, ``results/`` (every selected mask of every frame with its evidence)
    and ``manifest.json``. A video that cannot be read is skipped and reported; one that breaks off is mined so far.

    Disk: while a video is mined, its spool takes about 60 kB a frame (small picture, candidates) and is removed at its
    end, so ``workers`` videos at most lie there at once; the dataset keeps one JPEG in ``keep_every`` frames.

    Args:
        videos: what `open_frames` takes: files, folders of images, globs, addresses.
        out: folder of the dataset; empty or missing unless ``resume``.
        proposer: makes the proposer in each worker; with ``workers`` > 1 it must be picklable, as must the next two.
        background: makes the background estimator; default: the bundled network.
        flow: makes the flow estimator; default: DIS.
        settings: selection and output; default: the paper's.
        workers: processes, each on one thread, so that their number changes no bit of the result.
        ray: spread the processes over a Ray cluster at this address instead ("local" = one for this run alone).
        resume: go on with the run in ``out``; at most the frame in work is done again.
        command: as typed, for the manifest.
        identity: names of the estimators, for the manifest; a run resumes only with equal ones.
        weights: theirs, by name, as `fewmask.models.weights_input` gives them; a run resumes only with equal ones.
        report: told (outcome, videos done, videos) after each video.
        progress: told (video, "frames" or "pairs", how many) while it runs; with one worker only.

    Raises:
        ConfigError: no videos, ``workers`` < 1, ``out`` is not empty, or another run is in it.
        VideoError: no video could be read.
        FewmaskError: a worker was killed.
    """
    if not videos:
        raise ConfigError("no video to mine; name at least one file, folder, glob or address")
    if workers < 1:
        raise ConfigError(f"workers is {workers}; at least one process is needed")
    settings = MiningSettings() if settings is None else settings
    run = RunDirectory.create(
        out,
        command=command,
        inputs={"videos": [str(video) for video in videos], **(weights or {})},
        settings={**settings.model_dump(), **(identity or {})},
        resume=resume,
    )
    with run:
        jobs = [Job(name, str(video), run.path) for name, video in zip(unique_names(videos), videos, strict=True)]
        tools = partial(make_tools, proposer, background, flow)
        run.update({"names": [job.name for job in jobs]})
        outcomes: dict[str, VideoOutcome] = {}
        with closing(outcomes_of(jobs, tools, settings, workers, progress, ray)) as found:  # its processes end here
            for outcome in found:
                outcomes[outcome.name] = outcome
                run.update({"videos": {name: asdict(done) for name, done in sorted(outcomes.items())}})
                report(outcome, len(outcomes), len(jobs))
        if outcomes and all(outcome.skipped is not None for outcome in outcomes.values()):
            first = next(iter(outcomes.values()))
            raise VideoError(f"none of the {len(outcomes)} videos could be read; {first.name}: {first.skipped}")
        tracks = write_dataset(run.path, [job.result for job in jobs if job.result.exists()], settings)
        run.update({"tracks_to_review": tracks})
        run.finish()
    return MiningSummary(run.path, tuple(outcomes[job.name] for job in jobs), tracks)


class _MinedProgress(BaseModel):
    names: list[VideoName]


class _MinedSettings(BaseModel):
    keep_every: PositiveInt


class _MinedManifest(BaseModel):
    """What of a mining run's manifest its review needs."""

    progress: _MinedProgress
    settings: _MinedSettings


def apply_review(folder: str | Path, decisions: str | Path, *, only_accepted: bool = False) -> Path:
    """Write ``instances.reviewed.json`` and ``ytvis.reviewed.json`` without the rejected tracks.

    Args:
        folder: a finished mining dataset.
        decisions: ``review.json`` as the review page saves it.
        only_accepted: leave out undecided tracks too.

    Returns:
        The COCO file.

    Raises:
        ConfigError: ``folder`` is no finished mining dataset.
        DatasetError: the decisions are malformed.
    """
    folder = Path(folder)
    if not (folder / "instances.json").exists():
        raise ConfigError(f"{folder}: no finished mining dataset; give the --out of `fewmask mine`")
    with WriterLock.of_folder(folder, "fewmask mine --review"):
        advice = "mine the videos again"
        manifest = read_json(folder / "manifest.json", _MinedManifest, advice, error=ConfigError)
        keep = read_decisions(Path(decisions)).keep(only_accepted=only_accepted)
        results = [folder / "results" / f"{name}.json" for name in manifest.progress.names]
        videos = in_order([path for path in results if path.exists()])
        write_annotations(folder, videos, manifest.settings.keep_every, keep=keep, suffix=".reviewed")
    return folder / "instances.reviewed.json"


def unique_names(videos: Sequence[str | Path]) -> list[str]:
    """A file-system-safe name per video, from its last path part; repeated ones get -2, -3, ..."""
    names: list[str] = []
    taken: set[str] = set()
    for video in videos:
        text = str(video)
        stem = address_name(text) if is_address(text) else Path(text.rstrip("/")).stem or "video"
        safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in stem)
        name, count = safe, 1
        while name.casefold() in taken:
            count += 1
            name = f"{safe}-{count}"
        taken.add(name.casefold())
        names.append(name)
    return names


def write_dataset(folder: Path, results: Sequence[Path], settings: MiningSettings) -> int:
    """Everything that is made of the finished videos, in the order of their files; the number of tracks to review."""
    write_annotations(folder, in_order(results), settings.keep_every)
    for video in in_order(results):
        write_exports(folder, video, settings.keep_every)
    return write_review_page(folder, in_order(results), settings.keep_every)
