"""Mining one video, frame by frame on disk, so that a killed job goes on where it stopped.

In ``work/<name>/`` lie two spools: what stage 1 found in each frame, and the pairs that stage 2 has evaluated.
Both are removed when ``results/<name>.json`` is written; the frames of the dataset stay in ``images/<name>/``.
"""

import shutil
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fewmask.addresses import showable
from fewmask.errors import VideoError
from fewmask.media.atomic import write_bytes
from fewmask.media.frames import open_frames
from fewmask.media.spool import ResultSpool
from fewmask.mining.flow import FlowEstimator
from fewmask.mining.frame_candidates import BackgroundEstimator, FrameCandidates, frame_candidates
from fewmask.mining.mined_video import MinedVideo, gather
from fewmask.mining.proposals import Proposer, RgbImage
from fewmask.mining.selection import Pair, select
from fewmask.mining.settings import MiningSettings


@dataclass(frozen=True)
class Job:
    """One video of a run: its unique ``name``, its ``source`` as `open_frames` takes it, the run's folder ``out``."""

    name: str
    source: str
    out: Path

    @property
    def work(self) -> Path:
        """Folder of what is needed only until the video is done."""
        return self.out / "work" / self.name

    @property
    def candidates(self) -> Path:
        """The spool of what stage 1 found in each frame."""
        return self.work / "frames.spool"

    @property
    def result(self) -> Path:
        """The finished video."""
        return self.out / "results" / f"{self.name}.json"

    def image(self, index: int) -> Path:
        """The picture of a frame that enters the dataset."""
        return self.out / "images" / self.name / f"{index:06d}.jpg"


@dataclass(frozen=True)
class Tools:
    """The three estimators of one worker."""

    proposer: Proposer
    background: BackgroundEstimator
    flow: FlowEstimator


def run_job(
    job: Job, tools: Tools, settings: MiningSettings, progress: Callable[[str, int], None] = lambda *_: None
) -> MinedVideo:
    """Mine one video, or go on with it; a finished one is read.

    Args:
        job: what and where.
        tools: the estimators.
        settings: selection and output.
        progress: told ("frames" or "pairs", how many are done).

    Raises:
        VideoError: not one frame could be read. An error after that ends the video there and is noted.
        DatasetError: an estimator's answer does not fit the frame.
    """
    if job.result.exists():
        return MinedVideo.read(job.result)
    looked = look(job, tools.proposer, tools.background, settings, progress)
    return choose(job, [job.candidates], looked, tools.flow, settings, progress)


@dataclass(frozen=True)
class Looked:
    """What stage 1 says of a video, or of a part of it, beside the candidates.

    Attributes:
        fps: frame rate, where known.
        note: why it ended early, if it did.
        frames: how many were looked at now.
    """

    fps: float | None = None
    note: str | None = None
    frames: int = 0


def choose(
    job: Job,
    spools: Sequence[Path],
    looked: Looked,
    flow: FlowEstimator,
    settings: MiningSettings,
    progress: Callable[[str, int], None] = lambda *_: None,
) -> MinedVideo:
    """Stage 2: select among the candidates of a video, and write the result.

    Args:
        job: what and where.
        spools: files of `look`, which follow one another.
        looked: of the whole video.
        flow: the flow estimator.
        settings: selection and output.
        progress: told ("pairs", how many are done).

    Raises:
        VideoError: there is no frame.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    frames: list[FrameCandidates] = []
    for path in spools:
        with ResultSpool(path) as spool:
            frames += [FrameCandidates.from_json(i, found) for i, found in spool.records() if isinstance(found, dict)]
    if not frames:
        raise VideoError(looked.note or f"{showable(job.source)}: holds no frames")
    with _PairJournal(job.work / "pairs.spool") as pairs:
        selection = select(frames, flow, settings, remembered=pairs, progress=lambda done: progress("pairs", done))
    video = gather(
        frames, selection, settings, name=job.name, source=showable(job.source), fps=looked.fps, note=looked.note
    )
    video.write(job.result)
    shutil.rmtree(job.work, ignore_errors=True)
    return video


def look(
    job: Job,
    proposer: Proposer,
    background: BackgroundEstimator,
    settings: MiningSettings,
    progress: Callable[[str, int], None] = lambda *_: None,
    *,
    first: int = 0,
    stop: int | None = None,
) -> Looked:
    """Stage 1: append every frame that is not in the spool of candidates yet.

    Args:
        job: what and where.
        proposer: of masks.
        background: tells background from objects.
        settings: selection and output.
        progress: told ("frames", how many are done).
        first: frame of the source to begin at, a multiple of ``frame_step``.
        stop: frame behind the last; None = to the end.

    Raises:
        DatasetError: an estimator's answer does not fit the frame.
    """
    fps: float | None = None
    step, count = settings.frame_step, 0
    job.work.mkdir(parents=True, exist_ok=True)
    with ResultSpool(job.candidates) as spool:
        start = first if spool.last_index is None else (spool.last_index + 1) * step
        try:
            with open_frames(job.source, start=start) as source:
                if source.is_live:
                    shown = showable(job.source)
                    raise VideoError(f"{shown}: a live source has no end; record it, then mine the recording")
                fps = source.fps
                for frame in source:
                    if stop is not None and frame.index >= stop:
                        break
                    t, between = divmod(frame.index, step)
                    if between:
                        continue
                    if t % settings.keep_every == 0:
                        _write_jpeg(job.image(frame.index), frame.rgb)
                    candidates = frame_candidates(t, frame.rgb, proposer, background, settings)
                    spool.append(t, candidates.to_json())
                    count += 1
                    progress("frames", t + 1)
        except VideoError as error:
            return Looked(fps, str(error), count)
    return Looked(fps, None, count)


def _write_jpeg(path: Path, rgb: RgbImage) -> None:
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(rgb[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    write_bytes(path, encoded.tobytes())


class _PairJournal(MutableMapping[Pair, tuple[float, ...]]):
    """What flow added to pairs (t, k, l), each on disk as soon as it is set."""

    def __init__(self, path: Path) -> None:
        self._spool = ResultSpool(path)
        self._added: dict[Pair, tuple[float, ...]] = {}
        for _, record in self._spool.records():
            if isinstance(record, dict):
                t, k, following = record["pair"]
                self._added[t, k, following] = tuple(record["added"])

    def __enter__(self) -> "_PairJournal":
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def __getitem__(self, pair: Pair) -> tuple[float, ...]:
        return self._added[pair]

    def __setitem__(self, pair: Pair, added: tuple[float, ...]) -> None:
        self._spool.append(len(self._added), {"pair": pair, "added": added})
        self._added[pair] = added

    def __delitem__(self, pair: Pair) -> None:
        raise TypeError("what was evaluated stays")

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._added)

    def __len__(self) -> int:
        return len(self._added)
