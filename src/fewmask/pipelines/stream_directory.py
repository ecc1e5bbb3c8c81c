"""A video into a run directory, for every method whose frame results are final when they come.

While the video runs, results go to the spool, with the method's state after each stretch of frames. When the source
ends, one pass over the spool writes the files for users. A broken source ends the run early: what came before it is
written all the same, then the error is raised.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fewmask.errors import VideoError
from fewmask.exports.run_outputs import Outputs, RunSummary, write_exports
from fewmask.exports.run_pictures import LiveOverlay, Overlay, PaletteMasks
from fewmask.exports.video_result import VideoResult
from fewmask.media.frames import Frame, open_frames
from fewmask.media.results import FrameResult, Track
from fewmask.media.run_directory import RunDirectory
from fewmask.media.spool import ResultSpool
from fewmask.media.tracks_file import TracksFile

STATE_EVERY = 64  # frames between two stored states; at most this many, and a group, are computed again on resume
MOST_SHOWN = 255  # tracks that a palette PNG can hold

Reread = Callable[[Collection[int]], Iterator[Frame]]
"""Gives the frames of the source with these indices once more, in order."""


class ResultStream(Protocol):
    """One video through one method."""

    @property
    def categories(self) -> Mapping[int, str]:
        """Class names by category id."""
        ...

    def run(self, frames: Iterable[Frame]) -> Iterator[Sequence[FrameResult]]:
        """Final results in order, in groups as they become known; an error of the source comes after them."""
        ...

    def state(self) -> dict[str, Any] | None:
        """Between two groups: what going on after the last one needs, as plain JSON values.

        None where it cannot go on here; a run without any state starts again from its first frame.
        """
        ...

    def restore(self, state: dict[str, Any], reread: Reread) -> None:
        """Put a fresh stream into ``state``; the next frame is the one after the last result."""
        ...


@dataclass(frozen=True)
class _Job:
    """One call of `stream_to_directory`."""

    stream: ResultStream
    source: str | Path | int
    run: RunDirectory
    outputs: Outputs
    skip_broken: bool


@dataclass
class _Gathered:
    """What the spool says of one track."""

    frames: int = 0
    total: float = 0.0
    by_category: dict[int, float] = field(default_factory=dict)

    def add(self, category_id: int, score: float) -> None:
        self.frames += 1
        self.total += score
        self.by_category[category_id] = self.by_category.get(category_id, 0.0) + score

    def as_track(self, track_id: int) -> Track:
        """Without masks: the class with the largest sum of scores, the mean score over the frames with a mask."""
        category = max(self.by_category, key=lambda category_id: (self.by_category[category_id], -category_id))
        return Track(track_id, category, self.total / self.frames, ())


def stream_to_directory(
    stream: ResultStream,
    source: str | Path | int,
    run: RunDirectory,
    outputs: Outputs,
    *,
    skip_broken: bool = False,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> RunSummary:
    """Segment ``source`` into ``run``, going on where an earlier run stopped.

    Writes ``results.spool``, ``tracks.json`` (YouTube-VIS results with "frame_scores" beside "segmentations": the
    confidence of every track in every frame, null where there is none; a track's score is their mean over the frames
    where it has a mask), ``overlay.mp4``, ``masks/`` and the exports, and keeps the manifest up to date. A resumed
    run gives the same files as an uninterrupted one.

    Args:
        stream: fresh.
        run: made with the source and every setting that decides the result.
        progress: called with the frames done and their number, where known.

    Raises:
        VideoError: the source broke; the results up to there have been written.
    """
    job = _Job(stream, source, run, outputs, skip_broken)
    state, following, complete = _resume_point(run.spool)
    broken: VideoError | None = None
    if not complete:
        if state is not None:
            stream.restore(state, lambda indices: _frames_at(job, indices))
        try:
            _run_frames(job, following, progress)
        except VideoError as error:
            broken = error
    if run.spool.last_index is None:
        nothing = broken or VideoError(f"{source}: no frame came; check that it plays")
        run.fail(str(nothing))
        raise nothing
    summary = _write_results(job)
    if broken is not None:
        run.fail(str(broken))
        raise VideoError(f"{broken} (the {summary.frames} frames before it are in {run.path})") from broken
    run.update({"frames": summary.frames, "tracks": summary.tracks})
    run.finish()
    return summary


def _resume_point(spool: ResultSpool) -> tuple[dict[str, Any] | None, int, bool]:
    """The last stored state, the frame to go on with, and whether the source had ended; drops what comes after."""
    state, following = None, 0
    for index, record in spool.records():
        if isinstance(record, dict) and record.get("complete"):
            return None, index + 1, True
        if isinstance(record, dict) and "state" in record:
            state, following = record["state"], index + 1
    spool.truncate_to(following)
    return state, following, False


def _frames_at(job: _Job, indices: Collection[int]) -> Iterator[Frame]:
    if not indices:
        return
    with open_frames(job.source, start=min(indices), skip_broken=job.skip_broken) as frames:
        for frame in frames:
            if frame.index in indices:
                yield frame
            if frame.index >= max(indices):
                return


def _run_frames(job: _Job, start: int, progress: Callable[[int, int | None], None]) -> None:
    """The video through the method into the spool."""
    spool = job.run.spool
    last, stored = start - 1, start
    live: LiveOverlay | None = None
    with open_frames(job.source, start=start, skip_broken=job.skip_broken) as frames:
        if frames.is_live and job.outputs.overlay:
            overlay = job.run.path / "overlay.mp4"
            live = LiveOverlay(overlay, frames, job.stream.categories, job.outputs.min_score)
        try:
            for group in job.stream.run(live or frames):
                for result in group:
                    spool.append(result.index, result)
                    last = result.index
                    if live is not None:
                        live.add(result)
                if last + 1 - stored >= STATE_EVERY and (state := job.stream.state()) is not None:
                    spool.append(last, {"state": state})
                    job.run.update({"frames": last + 1})
                    stored = last + 1
                progress(last + 1, frames.estimated_length)
        except KeyboardInterrupt:
            if not frames.is_live:  # a live source has no other end
                raise
        finally:
            if live is not None and spool.last_index is not None:
                live.close()
    if spool.last_index is not None:
        spool.append(last, {"complete": True})


def _write_results(job: _Job) -> RunSummary:
    tracks, shown = _ranked_tracks(job.run.spool, job.outputs.min_score)
    folder = job.run.path
    overlay_path, masks_path = folder / "overlay.mp4", folder / "masks"
    files = [folder / "tracks.json"]
    length = 0
    with ExitStack() as stack:
        ids = [track.track_id for track in tracks]
        listed = stack.enter_context(TracksFile(files[0], tracks, ids, frame_scores=True))
        pictures: list[Overlay | PaletteMasks] = []
        if job.outputs.overlay:
            files.append(overlay_path)
            if not overlay_path.exists():  # a live source has drawn it already
                overlay = Overlay(overlay_path, job.source, job.stream.categories, skip_broken=job.skip_broken)
                pictures.append(stack.enter_context(overlay))
        if job.outputs.masks:
            files.append(masks_path)
            pictures.append(PaletteMasks(masks_path, sorted(shown)))
        for result in job.run.spool.results():
            listed.add(result)
            kept = _only(result, shown)
            for picture in pictures:
                picture.add(kept)
            length = result.index + 1
    if job.outputs.exports:
        files += write_exports(_shown_video(job, shown, length), str(job.source), folder, job.outputs.exports)
    return RunSummary(length, len(shown), tuple(files))


def _ranked_tracks(spool: ResultSpool, min_score: float) -> tuple[list[Track], frozenset[int]]:
    """Every track that ever has a mask, most confident pixels of the video first, and the ids that pictures show."""
    gathered: dict[int, _Gathered] = {}
    for result in spool.results():
        rows = zip(result.track_ids, result.category_ids, result.scores, result.masks, strict=True)
        for track_id, category_id, score, mask in rows:
            if mask is not None:
                gathered.setdefault(track_id, _Gathered()).add(category_id, score)
    ranked = sorted(gathered, key=lambda track_id: (-gathered[track_id].total, track_id))
    tracks = [gathered[track_id].as_track(track_id) for track_id in ranked]
    return tracks, frozenset([track.track_id for track in tracks if track.score >= min_score][:MOST_SHOWN])


def _only(result: FrameResult, shown: frozenset[int]) -> FrameResult:
    return result.rows(row for row, track_id in enumerate(result.track_ids) if track_id in shown)


def _shown_video(job: _Job, shown: frozenset[int], length: int) -> VideoResult:
    with open_frames(job.source) as frames:
        name, size, fps, file_names = frames.name, frames.size, frames.fps, frames.file_names
    return VideoResult.from_frames(
        (_only(result, shown) for result in job.run.spool.results()),
        name=name,
        size=size,
        categories=job.stream.categories,
        length=length,
        fps=fps,
        file_names=None if file_names is None else file_names[:length],
    )
