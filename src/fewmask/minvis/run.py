"""`fewmask segment SOURCE --out DIR`: a video into a run directory, resumable, in memory that does not grow.

While the video runs, every frame's kept masks go to the spool, with the tracker's state after each stretch of
frames. When the source ends the final ranking is known, and one pass over the spool writes the files for users.
A broken source ends the run early: what came before it is written all the same, then the error is raised.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fewmask.errors import VideoError
from fewmask.exports.run_outputs import Outputs, RunSummary, write_exports
from fewmask.exports.run_pictures import LiveOverlay, Overlay, PaletteMasks
from fewmask.exports.video_result import VideoResult
from fewmask.media.frames import open_frames
from fewmask.media.results import FrameResult, Track
from fewmask.media.rle import Rle
from fewmask.media.run_directory import RunDirectory
from fewmask.media.spool import ResultSpool
from fewmask.media.tracks_file import TracksFile
from fewmask.minvis.stream import MinVIS, StreamSettings, best_of, pair_ids
from fewmask.minvis.tracker import QueryTracker

STATE_EVERY = 64  # frames between two tracker states; at most this many, and a batch, are computed again on resume


@dataclass(frozen=True)
class _Job:
    """One call of `segment_to_directory`."""

    model: MinVIS
    source: str | Path | int
    run: RunDirectory
    settings: StreamSettings
    outputs: Outputs
    skip_broken: bool


@dataclass(frozen=True)
class _FinalTracks:
    """The final ranking: ``tracks`` (without masks), their ids in the spool, and which of them pictures show."""

    tracks: list[Track]
    spool_ids: list[int]
    shown: list[int]

    def of(self, result: FrameResult) -> FrameResult:
        """A frame of the spool with the shown tracks at their final ids, classes and scores."""
        masks = dict(zip(result.track_ids, result.masks, strict=True))
        shown = [self.tracks[i] for i in self.shown]
        return FrameResult(
            result.index,
            result.size,
            tuple(track.track_id for track in shown),
            tuple(track.category_id for track in shown),
            tuple(track.score for track in shown),
            tuple(masks.get(self.spool_ids[i]) for i in self.shown),
            result.time_s,
        )


def segment_to_directory(
    model: MinVIS,
    source: str | Path | int,
    run: RunDirectory,
    settings: StreamSettings,
    outputs: Outputs,
    *,
    skip_broken: bool = False,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> RunSummary:
    """Segment ``source`` into ``run``, going on where an earlier run stopped.

    Args:
        settings: resolved (`fewmask.minvis.stream.resolve`), as recorded in the manifest.
        progress: called with the frames done and their number, where known.

    Raises:
        VideoError: the source broke; the results up to there have been written.
    """
    job = _Job(model, source, run, settings, outputs, skip_broken)
    tracker, following, complete = _resume_point(run.spool)
    broken: VideoError | None = None
    if not complete:
        try:
            _run_frames(job, tracker, following, progress)
        except VideoError as error:
            broken = error
    if tracker.frames == 0:
        nothing = broken or VideoError(f"{source}: no frame came; check that it plays")
        run.fail(str(nothing))
        raise nothing
    summary = _write_results(job, tracker)
    if broken is not None:
        run.fail(str(broken))
        raise VideoError(f"{broken} (the {summary.frames} frames before it are in {run.path})") from broken
    run.update({"frames": summary.frames, "tracks": summary.tracks})
    run.finish()
    return summary


def _run_frames(job: _Job, tracker: QueryTracker, start: int, progress: Callable[[int, int | None], None]) -> None:
    """The video through the network into the spool. Batches start where they would have without an interruption."""
    last = start - 1
    batch = job.settings.batch
    live: LiveOverlay | None = None
    with open_frames(job.source, start=start, skip_broken=job.skip_broken) as frames:
        if frames.is_live and job.outputs.overlay:
            live = LiveOverlay(job.run.path / "overlay.mp4", frames, job.model.categories, job.outputs.min_score)
        try:
            for result in job.model.track(live or frames, tracker, job.settings):
                job.run.spool.append(result.index, result)
                last = result.index
                if live is not None:
                    live.add(best_of(result, job.settings.top_k))
                # Only between batches: a resumed run must batch the same frames together.
                if tracker.frames % batch == 0 and tracker.frames % STATE_EVERY < batch:
                    job.run.spool.append(last, {"tracker": tracker.state()})
                    job.run.update({"frames": tracker.frames})
                progress(result.index + 1, frames.estimated_length)
        except KeyboardInterrupt:
            if not frames.is_live:  # a live source has no other end
                raise
        finally:
            if live is not None and tracker.frames:
                live.close()
    if tracker.frames:
        job.run.spool.append(last, {"tracker": tracker.state(), "complete": True})


def _resume_point(spool: ResultSpool) -> tuple[QueryTracker, int, bool]:
    """The last stored tracker, the frame to go on with, and whether the source had ended."""
    state, following, complete = None, 0, False
    for index, record in spool.records():
        if isinstance(record, dict) and "tracker" in record:
            state, following, complete = record["tracker"], index + 1, bool(record.get("complete"))
    spool.truncate_to(following)
    return (QueryTracker() if state is None else QueryTracker.from_state(state)), following, complete


def _write_results(job: _Job, tracker: QueryTracker) -> RunSummary:
    final = _final_tracks(tracker, job.settings.top_k, job.outputs.min_score)
    folder, categories = job.run.path, job.model.categories
    overlay_path, masks_path = folder / "overlay.mp4", folder / "masks"
    files = [folder / "tracks.json"]
    length = 0
    with ExitStack() as stack:
        tracks = stack.enter_context(TracksFile(files[0], final.tracks, final.spool_ids))
        pictures: list[Overlay | PaletteMasks] = []
        if job.outputs.overlay:
            files.append(overlay_path)
            if not overlay_path.exists():  # a live source has drawn it already
                overlay = Overlay(overlay_path, job.source, categories, skip_broken=job.skip_broken)
                pictures.append(stack.enter_context(overlay))
        if job.outputs.masks:
            files.append(masks_path)
            pictures.append(PaletteMasks(masks_path, [final.tracks[i].track_id for i in final.shown]))
        for result in job.run.spool.results():
            tracks.add(result)
            for picture in pictures:
                picture.add(final.of(result))
            length = result.index + 1
    if job.outputs.exports:
        files += write_exports(_shown_video(job, final, length), str(job.source), folder, job.outputs.exports)
    return RunSummary(length, len(final.shown), tuple(files))


def _final_tracks(tracker: QueryTracker, top_k: int, min_score: float) -> _FinalTracks:
    best = tracker.best(top_k)
    tracks = [
        Track(track_id, int(label) + 1, float(score), ())
        for track_id, label, score in zip(
            pair_ids(best, tracker.video_logits.shape[0]), best.labels, best.scores, strict=True
        )
    ]
    spool_ids = [int(slot) + 1 for slot in best.slots]
    # A slot may carry several classes; pictures show it once, at its best.
    shown = [i for i, track in enumerate(tracks) if track.score >= min_score and spool_ids[i] not in spool_ids[:i]]
    return _FinalTracks(tracks, spool_ids, shown)


def _shown_video(job: _Job, final: _FinalTracks, length: int) -> VideoResult:
    """The shown tracks with all their masks."""
    results = [final.of(result) for result in job.run.spool.results()]
    masks: dict[int, list[Rle | None]] = {final.tracks[i].track_id: [None] * length for i in final.shown}
    for result in results:
        for track_id, mask in zip(result.track_ids, result.masks, strict=True):
            masks[track_id][result.index] = mask
    with open_frames(job.source) as frames:
        name, fps, file_names = frames.name, frames.fps, frames.file_names
    return VideoResult(
        name=name,
        size=results[0].size,
        length=length,
        tracks=tuple(
            Track(track.track_id, track.category_id, track.score, tuple(masks[track.track_id]))
            for track in (final.tracks[i] for i in final.shown)
        ),
        categories=job.model.categories,
        fps=fps,
        file_names=None if file_names is None else file_names[:length],
        annotated_frames=None if len(results) == length else tuple(result.index for result in results),
    )
