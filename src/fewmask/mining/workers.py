"""Jobs over processes: what became of each video, the same whatever the number of processes."""

import multiprocessing
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial

import torch

from fewmask.errors import FewmaskError, VideoError
from fewmask.media.addresses import showable
from fewmask.media.stopping import children_start, end_with_parent, end_workers
from fewmask.mining.flow import FlowEstimator
from fewmask.mining.frame_candidates import BackgroundEstimator
from fewmask.mining.mined_video import MinedVideo
from fewmask.mining.proposals import Proposer
from fewmask.mining.settings import MiningSettings
from fewmask.mining.video_job import Job, Tools, run_job


@dataclass(frozen=True)
class VideoOutcome:
    """What became of one video.

    Attributes:
        name: unique within the run.
        source: where it came from.
        frames: how many were looked at.
        empty: frames of which no mask was kept.
        proposals: mask candidates over all frames.
        masks: how many of them were kept.
        tracks: objects that they make up.
        foreground: mean probability of foreground inside kept masks.
        stability: mean IoU of kept masks with their tracks in the neighbouring frames.
        reconsidered: frames in which motion and consistency changed what looks alone would have kept.
        pairs_evaluated: synthetic flows that were needed.
        pairs: synthetic flows that a full table would have needed.
        skipped: why it gave nothing.
        note: why it ended early.
    """

    name: str
    source: str
    frames: int = 0
    empty: int = 0
    proposals: int = 0
    masks: int = 0
    tracks: int = 0
    foreground: float = 0.0
    stability: float = 0.0
    reconsidered: int = 0
    pairs_evaluated: int = 0
    pairs: int = 0
    skipped: str | None = None
    note: str | None = None


def make_tools(
    proposer: Callable[[], Proposer],
    background: Callable[[], BackgroundEstimator],
    flow: Callable[[], FlowEstimator],
) -> Tools:
    """The estimators of one worker, made where they are used."""
    return Tools(proposer(), background(), flow())


def outcomes_of(
    jobs: Sequence[Job],
    tools_factory: Callable[[], Tools],
    settings: MiningSettings,
    workers: int,
    progress: Callable[[str, str, int], None],
) -> Generator[VideoOutcome, None, None]:
    """Outcomes as the videos are done; in the order of the jobs with one worker."""
    if workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a worker process: sums on more threads round otherwise
        try:
            tools = tools_factory()
            for job in jobs:
                yield mine_one(job, tools, settings, partial(progress, job.name))
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(tools_factory, settings)
    )
    try:
        with children_start():
            futures = [pool.submit(_mine_in_worker, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise FewmaskError(
            "a mining process was killed (out of memory?); go on with --resume, or with fewer --workers"
        ) from error
    finally:
        end_workers(pool)  # after an error or Ctrl-C at once: the job in hand goes on where it is


_worker: tuple[Tools, MiningSettings] | None = None


def _start_worker(make_tools: Callable[[], Tools], settings: MiningSettings) -> None:
    global _worker  # noqa: PLW0603 - a process pool hands its workers state in no other way
    end_with_parent()
    torch.set_num_threads(1)
    _worker = (make_tools(), settings)


def _mine_in_worker(job: Job) -> VideoOutcome:
    if _worker is None:
        raise RuntimeError("the worker was not started")
    return mine_one(job, *_worker)


def mine_one(
    job: Job, tools: Tools, settings: MiningSettings, progress: Callable[[str, int], None] = lambda *_: None
) -> VideoOutcome:
    """Mine one video with the estimators at hand, or go on with it; one that cannot be read is skipped."""
    try:
        video = run_job(job, tools, settings, progress)
    except VideoError as error:
        return VideoOutcome(job.name, showable(job.source), skipped=str(error))
    return _outcome(video)


def _outcome(video: MinedVideo) -> VideoOutcome:
    masks = [mask for frame in video.frames for mask in frame]
    return VideoOutcome(
        name=video.name,
        source=video.source,
        frames=len(video.frames),
        empty=sum(not frame for frame in video.frames),
        proposals=video.proposals,
        masks=len(masks),
        tracks=len({mask.track for mask in masks}),
        foreground=sum(mask.foreground for mask in masks) / max(len(masks), 1),
        stability=sum(mask.stability for mask in masks) / max(len(masks), 1),
        reconsidered=sum(bool(frame) and frame[0].rank > 0 for frame in video.frames),
        pairs_evaluated=video.pairs_evaluated,
        pairs=video.pairs,
        note=video.note,
    )
