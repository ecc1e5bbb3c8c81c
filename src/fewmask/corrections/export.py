"""Corrected results in every format: what `fewmask export` and the studio's button write."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fewmask.corrections.corrected_run import CorrectedRun
from fewmask.datasets.ytvis_types import (
    YtvisCategory,
    YtvisDataset,
    YtvisVideo,
    annotation_from_masks,
)
from fewmask.datasets.ytvis_write import write_ytvis
from fewmask.errors import ConfigError
from fewmask.exports.davis import pixel_values, write_davis_frame
from fewmask.exports.video_result import VideoResult
from fewmask.media.atomic import write_bytes, write_json, write_text
from fewmask.media.frames import open_frames
from fewmask.media.results import Track
from fewmask.media.tracks_file import TracksFile

FOLDER = "corrected"
"""Where exports lie, below the run."""
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95]

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class _Export:
    """One call: the run, where to write, whose frames, and whom to tell."""

    run: CorrectedRun
    folder: Path
    progress: Progress


def export_corrected(
    run: CorrectedRun,
    kind: str,
    out: Path | None = None,
    *,
    progress: Progress = lambda _done, _total: None,
) -> Path:
    """Write the corrected results in one format; a run without corrections is written as it is.

    ``ytvis`` and ``davis`` stream; the others hold the run lengths of the whole video in memory.

    Args:
        run: with the corrections that hold now.
        kind: one of `FORMATS`.
        out: folder to write into; default: ``corrected`` below the run.
        progress: called with frames done and their number.

    Returns:
        The file or folder that was written.

    Raises:
        ConfigError: an unknown format.
        FewmaskError: the source is gone where its frames are needed, or the folder cannot be written.
    """
    if kind not in FORMATS:
        raise ConfigError(f"format {kind!r} is unknown; choose from {', '.join(FORMATS)}")
    return FORMATS[kind](_Export(run, out or run.path / FOLDER, progress))


def as_video(run: CorrectedRun) -> VideoResult:
    """The corrected results as one `VideoResult`, with name, rate and file names of the source where it is there."""
    facts: dict[str, Any] = {}
    if run.source is not None and Path(str(run.source)).exists():
        with open_frames(run.source) as frames:
            facts = {"fps": frames.fps, "file_names": frames.file_names}
    if facts.get("file_names") is not None:
        facts["file_names"] = facts["file_names"][: run.state.length]
    masks = _by_track(run, range(run.state.length))
    ids = {name: number for number, name in run.categories().items()}
    tracks = tuple(
        Track(track.track_id, ids[track.name], run.score(track.track_id), tuple(masks[track.track_id]))
        for track in run.state.tracks.values()
    )
    return VideoResult(
        name=_name(run),
        size=run.state.size,
        length=run.state.length,
        tracks=tracks,
        categories=run.categories(),
        **facts,
    )


def write_dataset(export: _Export) -> Path:
    """``dataset/ytvis.json`` over ``dataset/JPEGImages``; the frames that a person checked are the annotated ones.

    Where none was, every frame counts as annotated. Only the pictures of annotated frames are written.
    """
    run, folder = export.run, export.folder / "dataset"
    checked = run.checked_frames()
    names = tuple(f"{_name(run)}/{frame:06d}.jpg" for frame in range(run.state.length))
    _write_pictures(export, folder / "JPEGImages", names, checked or range(run.state.length))
    masks = _by_track(run, checked or range(run.state.length))
    ids = {name: number for number, name in run.categories().items()}
    height, width = run.state.size
    annotations = tuple(
        annotation_from_masks(id=number, video_id=1, category_id=ids[track.name], segmentations=masks[track.track_id])
        for number, track in enumerate(run.state.tracks.values(), start=1)
        if any(masks[track.track_id])
    )
    video = YtvisVideo(1, width, height, run.state.length, names, tuple(checked) or None)
    categories = tuple(YtvisCategory(number, name) for number, name in sorted(run.categories().items()))
    info = {"description": "results of fewmask, corrected by a person", "track_ids": _ids_by_annotation(run, masks)}
    write_ytvis(folder / "ytvis.json", YtvisDataset((video,), categories, annotations, info))
    return folder / "ytvis.json"


def _write_ytvis(export: _Export) -> Path:
    run, path = export.run, export.folder / "ytvis.json"
    ids = {name: number for number, name in run.categories().items()}
    tracks = [
        Track(track.track_id, ids[track.name], run.score(track.track_id), ()) for track in run.state.tracks.values()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with TracksFile(path, tracks, [track.track_id for track in tracks]) as file:
        for frame in run.frames():
            file.add(frame)
            export.progress(frame.index + 1, run.state.length)
    write_json(export.folder / "categories.json", {str(number): name for number, name in run.categories().items()})
    return path


def _write_davis(export: _Export) -> Path:
    run, folder = export.run, export.folder / "davis"
    values = pixel_values(_name(run), list(run.state.tracks))
    for frame in run.frames():
        write_davis_frame(frame, values, folder)
        export.progress(frame.index + 1, run.state.length)
    write_json(folder / "ids.json", {str(value): track_id for track_id, value in values.items()})
    return folder


def _write_coco(export: _Export) -> Path:
    write_json(export.folder / "coco.json", as_video(export.run).to_coco())
    return export.folder / "coco.json"


def _write_cvat(export: _Export) -> Path:
    write_text(export.folder / "cvat.xml", as_video(export.run).to_cvat())
    return export.folder / "cvat.xml"


def _write_label_studio(export: _Export) -> Path:
    source = Path(str(export.run.source)).name
    tasks = as_video(export.run).to_label_studio(f"/data/local-files/?d={source}")
    write_text(export.folder / "label_studio.json", json.dumps(tasks, allow_nan=False))
    return export.folder / "label_studio.json"


def _write_overlay(export: _Export) -> Path:
    from fewmask.exports.overlay_video import Overlay

    run, path = export.run, export.folder / "overlay.mp4"
    source = _source(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Overlay(path, source, run.categories(), skip_broken=True) as overlay:
        for frame in run.frames():
            overlay.add(frame)
            export.progress(frame.index + 1, run.state.length)
    return path


FORMATS: dict[str, Callable[[_Export], Path]] = {
    "ytvis": _write_ytvis,
    "dataset": write_dataset,
    "coco": _write_coco,
    "davis": _write_davis,
    "cvat": _write_cvat,
    "label-studio": _write_label_studio,
    "overlay": _write_overlay,
}
"""Name -> what writes it; returns what it wrote."""


def _by_track(run: CorrectedRun, frames: Any) -> dict[int, list[Any]]:
    """Track id -> a mask or None for every frame of the video; None in all frames but these."""
    masks: dict[int, list[Any]] = {track_id: [None] * run.state.length for track_id in run.state.tracks}
    for frame in run.frames(frames):
        for track_id, mask in zip(frame.track_ids, frame.masks, strict=True):
            masks[track_id][frame.index] = mask
    return masks


def _ids_by_annotation(run: CorrectedRun, masks: dict[int, list[Any]]) -> list[int]:
    """The track id of each annotation of the dataset, whose ids count from 1."""
    return [track_id for track_id in run.state.tracks if any(masks[track_id])]


def _write_pictures(export: _Export, folder: Path, names: tuple[str, ...], frames: Any) -> None:
    for rgb, index in _pictures(export.run, frames):
        path = folder / names[index]
        write_bytes(path, cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _JPEG)[1].tobytes())
        export.progress(index + 1, export.run.state.length)


def _pictures(run: CorrectedRun, frames: Any) -> Iterator[tuple[Any, int]]:
    wanted = set(frames)
    if not wanted:
        return
    with open_frames(_source(run), start=min(wanted), skip_broken=True) as source:
        for frame in source:
            if frame.index in wanted:
                yield np.ascontiguousarray(frame.rgb), frame.index
            if frame.index >= max(wanted):
                return


def _source(run: CorrectedRun) -> str | int:
    if run.source is None or (
        isinstance(run.source, str) and "://" not in run.source and not Path(run.source).exists()
    ):
        raise ConfigError(f"{run.path}: its source {run.source} is not there; put the video back where it was")
    return run.source


def _name(run: CorrectedRun) -> str:
    """Of the video, safe as a folder's name."""
    stem = Path(str(run.source)).stem if run.source is not None else run.path.resolve().name
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stem).strip(".") or "video"
