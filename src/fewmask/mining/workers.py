"""What became of each video, the same whatever the number of processes that mine."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from fewmask.addresses import showable
from fewmask.errors import VideoError
from fewmask.media.processes import outcomes
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
    ray: str | None = None,
) -> Generator[VideoOutcome, None, None]:
    """Outcomes of the videos, in the order of the jobs, from processes here or, with its address, on a Ray cluster.

    Every worker computes on one thread, for sums on more threads round otherwise. ``progress`` is told with one worker
    only.
    """
    if ray is not None:
        from fewmask.media.ray_processes import outcomes_on_ray

        there = [replace(job, out=job.out.resolve()) for job in jobs]
        make = partial(_worker, tools_factory, settings)
        return outcomes_on_ray(there, make, workers=workers, address=ray, threads=1)
    make = partial(_worker, tools_factory, settings, progress if workers == 1 else None)
    return outcomes(jobs, make, workers=workers, threads=1)


def _worker(
    make_tools: Callable[[], Tools],
    settings: MiningSettings,
    progress: Callable[[str, str, int], None] | None = None,
) -> Callable[[Job], VideoOutcome]:
    tools = make_tools()

    def work(job: Job) -> VideoOutcome:
        return mine_one(job, tools, settings, *([] if progress is None else [partial(progress, job.name)]))

    return work


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
