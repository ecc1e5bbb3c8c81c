"""The one road from a source to a run directory, whichever method is on it.

While the video runs, results go to the spool, with the method's state after each stretch of frames. When the source
ends, one pass over the spool writes the files for users (`run_files.py`). A broken source ends the run early: what came
before it is written all the same, then the error is raised.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fewmask.addresses import showable
from fewmask.errors import VideoError
from fewmask.exports.run_outputs import Outputs, RunSummary
from fewmask.exports.run_pictures import LiveOverlay
from fewmask.media.final_ids import AppearanceIds
from fewmask.media.final_tracks import FinalTracks
from fewmask.media.frames import Frame, open_frames
from fewmask.media.result_stream import ResultStream
from fewmask.media.results import FrameResult
from fewmask.media.run_directory import RunDirectory
from fewmask.media.spool import ResultSpool
from fewmask.media.stage_times import first_frame, stage, timed
from fewmask.media.stopping import taken_up
from fewmask.media.video_facts import VideoFacts
from fewmask.media.writer import check_writable
from fewmask.pipelines.run_files import write_run_files
from fewmask.pipelines.segment_request import RunOptions

if TYPE_CHECKING:
    import torch

WAITING = "method"
"""Stage of a profile: the method itself, where it does not name stages of its own; with MinVIS, waiting for them."""
STATE_EVERY = 64  # frames between two stored states; at most this many, and a group, are computed again on resume


@dataclass(frozen=True)
class _Job:
    """One call of `stream_to_directory`."""

    stream: ResultStream
    source: str | int
    run: RunDirectory
    outputs: Outputs
    skip_broken: bool
    live_ids: AppearanceIds = field(default_factory=AppearanceIds)


@dataclass(frozen=True)
class _Stored:
    """What an earlier run left in the spool: where to go on, or that nothing is left to do but the files."""

    following: int = 0
    state: dict[str, Any] | None = None
    complete: bool = False
    tracks: FinalTracks | None = None


def open_run(
    options: RunOptions,
    outputs: Outputs,
    device: "torch.device",
    *,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> RunDirectory:
    """The run directory of the options: made, or gone on with.

    Args:
        outputs: resolved, as recorded.
        device: where the network is.
        inputs: what is read besides the source; see `RunDirectory.create`.
        settings: everything of the method's that decides the result, as plain JSON values.

    Raises:
        ConfigError: the folder cannot be used, or holds another run.
    """
    return RunDirectory.create(
        options.out,
        command=list(options.command),
        inputs={"source": options.source, **inputs},
        settings={**settings, **outputs.settings, "device": device.type, "skip_broken": options.skip_broken},
        resume=options.resume,
    )


def stream_to_directory(
    stream: ResultStream,
    options: RunOptions,
    run: RunDirectory,
    outputs: Outputs,
    *,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> RunSummary:
    """Segment ``options.source`` into ``run``, going on where an earlier run stopped.

    Writes ``results.spool`` and the files of `write_run_files`, and keeps the manifest up to date. A resumed run gives
    the same files as an uninterrupted one.

    Args:
        stream: fresh.
        options: whose source is read.
        run: from `open_run`; its spool is closed in the end.
        outputs: what to write, resolved.
        progress: called with the frames done and their number, where known.

    Raises:
        VideoError: the source broke; the results up to there have been written.
    """
    job = _Job(stream, options.source, run, outputs, options.skip_broken)
    with closing(run.spool) as spool:
        stored = _stored(spool)
        tracks, broken = stored.tracks, None
        if not stored.complete:
            if stored.state is not None:
                stream.restore(stored.state, lambda indices: _frames_at(job, indices))
            try:
                _run_frames(job, stored.following, progress)
            except VideoError as error:
                broken = error
            tracks = stream.final_tracks()
        if spool.last_index is None:
            nothing = broken or VideoError(f"{showable(str(options.source))}: no frame came; check that it plays")
            run.fail(str(nothing))
            raise nothing
        if tracks is None:
            tracks = FinalTracks.gathered(spool.results())
        with stage("files"):
            summary = write_run_files(
                run, tracks, outputs, source=options.source, categories=stream.categories,
                skip_broken=options.skip_broken, ids_given=job.live_ids.given,
            )  # fmt: skip
        if broken is not None:
            run.fail(str(broken))
            before = "the frame before it is" if summary.frames == 1 else f"the {summary.frames} frames before it are"
            raise VideoError(f"{broken} ({before} in {run.path})") from broken
        run.update({"frames": summary.frames, "tracks": summary.tracks})
        run.finish()
        return summary


def _stored(spool: ResultSpool) -> _Stored:
    """How far the spool is; drops what comes after the last state."""
    last = _Stored()
    for index, record in spool.records():
        if isinstance(record, dict) and "complete" in record:
            tracks = None if record["complete"] is None else FinalTracks.from_json(record["complete"])
            return _Stored(index + 1, complete=True, tracks=tracks)
        if isinstance(record, dict) and "state" in record:
            last = _Stored(index + 1, record["state"])
    spool.truncate_to(last.following)
    return last


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
    spool, stream = job.run.spool, job.stream
    last, stored = start - 1, start
    live: LiveOverlay | None = None
    with open_frames(job.source, start=start, skip_broken=job.skip_broken) as frames:
        if job.outputs.overlay:
            check_writable(frames.size, f"{showable(str(job.source))}: the overlay")
        VideoFacts.of(frames, stream.categories).write(job.run.path)
        if frames.is_live and job.outputs.overlay:
            overlay = job.run.path / "overlay.mp4"
            live = LiveOverlay(overlay, frames, stream.categories, job.outputs, job.live_ids)
        try:
            for group in timed(WAITING, stream.run(timed("decode", live or frames))):
                first_frame()
                for result in group:
                    with stage("write"):
                        spool.append(result.index, result)
                    last = result.index
                    if live is not None:
                        live.add(_first_rows(result, stream.live_tracks))
                if last + 1 - stored >= STATE_EVERY and (state := stream.state()) is not None:
                    spool.append(last, {"state": state})
                    job.run.update({"frames": last + 1})
                    stored = last + 1
                progress(last + 1, frames.estimated_length)
        except KeyboardInterrupt:
            if not frames.is_live:  # a live source has no other end
                raise
            taken_up()
        finally:
            if live is not None and spool.last_index is not None:
                live.close()
                job.run.update({"drawn": spool.last_index + 1})
    if spool.last_index is not None:
        tracks = stream.final_tracks()
        spool.append(last, {"complete": None if tracks is None else tracks.as_json()})


def _first_rows(result: FrameResult, most: int | None) -> FrameResult:
    return result.rows(range(len(result.track_ids))[:most])
