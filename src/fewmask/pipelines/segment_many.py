"""Many videos, exactly one result each, by processes of this machine or actors of a Ray cluster.

A video's files come first, its `DONE` last: an object that appears whole or not at all. So a worker that dies leaves
nothing that counts, the video is done again by another, and a second run does only what has no `DONE`. Two workers that
do the same video by chance write the same bytes.
"""

import csv
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fewmask.addresses import showable
from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.processes import WorkerDiedError, outcomes
from fewmask.media.result_store import ResultStore, fetched, is_remote
from fewmask.pipelines.segment_request import RunOptions, SegmentRequest

DONE = "done.json"
_TRIES = 3  # worker pools that may die one after the other without a video done in between


@dataclass(frozen=True)
class VideoJob:
    """One line of a manifest: a video (path or address), and the name of its folder among the results."""

    name: str
    source: str


@dataclass(frozen=True)
class VideoDone:
    """What became of a video.

    Attributes:
        name: of the job.
        frames: of the result.
        video_s: seconds that the video lasts.
        worked_s: seconds a worker took, 0 where an earlier run did it.
        problem: why there is no result, None where there is one.
    """

    name: str
    frames: int = 0
    video_s: float = 0.0
    worked_s: float = 0.0
    problem: str | None = None


@dataclass(frozen=True)
class ManyOptions:
    """How the videos are segmented.

    Attributes:
        out: folder or address of the results.
        request: the method.
        run: source and folder in it are replaced video by video.
        workers: processes, or actors over all machines.
        ray: address of a Ray cluster, "local", or None for processes alone.
    """

    out: str
    request: SegmentRequest
    run: RunOptions
    workers: int = 1
    ray: str | None = None


def read_manifest(path: Path) -> list[VideoJob]:
    """Jobs of a text file: a line is a source, or a name, a comma and a source; blank lines and # are passed over.

    Without a name it is the source's own, without suffix.

    Raises:
        ConfigError: no such file, no line, or two videos of one name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no text file with a video a line ({error})") from error
    jobs: dict[str, VideoJob] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        *named, source = next(csv.reader([line.strip()], skipinitialspace=True))
        name = named[0] if named else source.partition("?")[0].rstrip("/").rpartition("/")[2].rpartition(".")[0]
        if len(named) > 1 or not source or name in {"", ".", ".."} or "/" in name or "\\" in name:
            raise ConfigError(f"{path}: line {number}: give a source, or name,source; a name has no slashes")
        if name in jobs:
            raise ConfigError(f"{path}: line {number}: a second video named {name}; put names before: name,source")
        jobs[name] = VideoJob(name, source if is_remote(source) else str((path.parent / source).resolve()))
    if not jobs:
        raise ConfigError(f"{path}: names no video")
    return list(jobs.values())


def segment_many(jobs: Sequence[VideoJob], options: ManyOptions) -> Generator[VideoDone, None, None]:
    """Segment every job that has no result yet; what becomes of each, in the order of the jobs.

    A video that cannot be read is told of and leaves no result; the others go on.

    Raises:
        FewmaskError: workers died again and again, or the cluster failed; what is done is kept.
    """
    make, rest, died = partial(_Worker, options), list(jobs), 0
    while rest:
        before = len(rest)
        try:
            for done in _spread(rest, make, options):
                rest = rest[1:]
                yield done
        except WorkerDiedError:
            died = died + 1 if len(rest) == before else 0
            if died >= _TRIES:
                raise


def _spread(
    jobs: Iterable[VideoJob], make: Callable[[], Callable[[VideoJob], VideoDone]], options: ManyOptions
) -> Generator[VideoDone, None, None]:
    if options.ray is None:
        return outcomes(jobs, make, workers=options.workers, threads=1)
    from fewmask.media.ray_processes import outcomes_on_ray

    return outcomes_on_ray(jobs, make, workers=options.workers, address=options.ray, threads=1)


class _Worker:
    """Does one video after the other."""

    def __init__(self, options: ManyOptions) -> None:
        self._options, self._store = options, ResultStore(options.out)

    def __call__(self, job: VideoJob) -> VideoDone:
        known = self._store.read(f"{job.name}/{DONE}")
        if known is not None:
            found = json.loads(known)
            return VideoDone(job.name, found["frames"], found["video_s"])
        start = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory(prefix="fewmask-") as folder:
                frames, video_s = self._segmented(job, Path(folder))
        except ConfigError:
            raise  # wrong for every video
        except FewmaskError as error:
            return VideoDone(job.name, worked_s=time.perf_counter() - start, problem=str(error))
        return VideoDone(job.name, frames, video_s, time.perf_counter() - start)

    def _segmented(self, job: VideoJob, folder: Path) -> tuple[int, float]:
        from dataclasses import replace

        from fewmask.media.video_facts import VideoFacts
        from fewmask.pipelines.segment import run_segment

        run = folder / "run"
        local = fetched(job.source, folder)
        summary = run_segment(replace(self._options.run, source=str(local), out=run), self._options.request)
        sums = {}
        for path in _files(summary.files):
            name = path.relative_to(run).as_posix()
            self._store.write(f"{job.name}/{name}", path)
            with path.open("rb") as handle:
                sums[name] = hashlib.file_digest(handle, "sha256").hexdigest()
        fps = VideoFacts.read(run).fps
        video_s = summary.frames / fps if fps else 0.0
        done = folder / DONE
        done.write_text(
            json.dumps(
                {"source": showable(job.source), "frames": summary.frames, "video_s": video_s, "sha256": sums},
                sort_keys=True,
            )
        )
        self._store.write(f"{job.name}/{DONE}", done)
        return summary.frames, video_s


def _files(given: Iterable[Path]) -> list[Path]:
    """The files themselves, those of folders too."""
    found = []
    for path in given:
        found += sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]
    return found
