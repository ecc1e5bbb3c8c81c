"""The files of a run for people and tools, out of its spool, in one pass: tracks, overlay, masks, exports."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from fewmask.addresses import showable
from fewmask.exports.overlay_video import Overlay
from fewmask.exports.run_outputs import Outputs, RunSummary, write_exports
from fewmask.exports.run_pictures import FrameFiles, PaletteMasks
from fewmask.exports.video_result import VideoResult
from fewmask.media.final_ids import first_frames
from fewmask.media.final_tracks import FinalTracks
from fewmask.media.hidden_tracks import NOTHING, Hidden, TrackClutter
from fewmask.media.run_directory import RunDirectory
from fewmask.media.tracks_file import TracksFile
from fewmask.media.video_facts import VideoFacts


def write_run_files(
    run: RunDirectory,
    tracks: FinalTracks,
    outputs: Outputs,
    *,
    source: str | Path | int,
    categories: Mapping[int, str],
    skip_broken: bool = False,
    ids_given: Mapping[int, int] | None = None,
) -> RunSummary:
    """Write ``tracks.json``, and as ``outputs`` says ``overlay.mp4``, ``masks/`` and exports.

    ``tracks.json`` holds YouTube-VIS results of all ``tracks``. Where frames have scores of their own, "frame_scores"
    lies beside "segmentations": the confidence of every track in every frame, null where there is none.

    Args:
        run: its spool holds the frame results.
        source: decoded once more for the overlay, in step with the results.
        ids_given: track ids by row that have been drawn already, of a live source.

    Raises:
        FewmaskError: the folder cannot be written.
    """
    tracks, hidden = _for_users(run, tracks, outputs, ids_given)
    shown = tracks.shown(outputs.min_score, outputs.min_share)
    overlay_path, masks_path = run.path / "overlay.mp4", run.path / "masks"
    files = [run.path / "tracks.json"]
    facts = VideoFacts.read(run.path)
    known: list[int] = []
    with ExitStack() as stack:
        listed = stack.enter_context(TracksFile(files[0], tracks.tracks, tracks.rows, frame_scores=tracks.frame_scores))
        pictures: list[Overlay | PaletteMasks | FrameFiles] = []
        if outputs.overlay:
            files.append(overlay_path)
            if not _is_drawn(run, overlay_path):
                overlay = Overlay(
                    overlay_path, source, categories, skip_broken=skip_broken, hidden=hidden.ids, scores=outputs.scores
                )
                pictures.append(stack.enter_context(overlay))
        if outputs.masks:
            files.append(masks_path)
            pictures.append(PaletteMasks(masks_path, [track.track_id for track in shown.tracks], facts.file_names))
        if outputs.frames:
            files.append(run.path / "images")
            frames = FrameFiles(files[-1], facts.name, source, skip_broken=skip_broken)
            pictures.append(stack.enter_context(frames))
        for result in run.spool.results():
            listed.add(tracks.named(result))
            for picture in pictures:
                picture.add(shown.of(result))
            known.append(result.index)
    length = known[-1] + 1 if known else 0
    ended = {
        "length": length,
        "known_frames": None if len(known) == length else tuple(known),
        "shown": tuple(track.track_id for track in shown.tracks),
    }
    facts.model_copy(update=ended).write(run.path)
    run.update({"drawn": length})
    if outputs.exports:
        video = VideoResult.from_final(
            shown, run.spool.results(), name=facts.name, size=(facts.height, facts.width), categories=categories,
            fps=facts.fps, file_names=facts.file_names,
        )  # fmt: skip
        files += write_exports(video, showable(str(source)), run.path, outputs.exports)
    return RunSummary(length, len(shown.tracks), tuple(files), hidden)


def _for_users(
    run: RunDirectory, tracks: FinalTracks, outputs: Outputs, ids_given: Mapping[int, int] | None
) -> tuple[FinalTracks, Hidden]:
    """The tracks with their final ids, and which of them the overlay leaves out."""
    hidden = NOTHING
    if not outputs.all_tracks:
        shown, clutter = tracks.shown(outputs.min_score, outputs.min_share), TrackClutter()
        for result in run.spool.results():
            clutter.add(shown.of(result))
        rows = {track.track_id: row for track, row in zip(shown.tracks, shown.rows, strict=True)}
        hidden = clutter.hidden(list(rows)).named(rows)
    numbered = tracks.numbered(
        first_frames(run.spool.results()), outputs.min_score, ids_given, hidden.ids, min_share=outputs.min_share
    )
    seen = numbered.shown(outputs.min_score, outputs.min_share)
    return numbered, hidden.named({row: track.track_id for track, row in zip(seen.tracks, seen.rows, strict=True)})


def _is_drawn(run: RunDirectory, overlay: Path) -> bool:
    """Whether the overlay is there with all its frames: that of a live source was drawn while it ran."""
    last = run.spool.last_index
    return last is not None and overlay.exists() and run.manifest["progress"].get("drawn") == last + 1
