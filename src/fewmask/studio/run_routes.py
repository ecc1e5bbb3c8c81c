"""A run for the page: its tracks, masks by stretch, the timeline, corrections, exports."""

import base64
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Query
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from fewmask.corrections.corrected_run import CorrectedRun
from fewmask.corrections.edits import described, read_edit
from fewmask.corrections.export import FOLDER, export_corrected
from fewmask.corrections.result_index import Presence
from fewmask.errors import FewmaskError
from fewmask.media.track_colors import track_color
from fewmask.studio.context import Context
from fewmask.studio.library import inside
from fewmask.studio.media_routes import media_facts

MOST_FRAMES = 256
"""Of one request for masks."""
_MOST_BUCKETS = 4096


class Correction(BaseModel):
    """What the page sends: the correction, and the version it was made on."""

    model_config = ConfigDict(extra="forbid")
    based_on: int
    edit: dict[str, Any]


class ExportWish(BaseModel):
    """One format of `fewmask.corrections.export.FORMATS`."""

    model_config = ConfigDict(extra="forbid")
    format: str


def run_routes(context: Context) -> APIRouter:
    """The routes below ``/api/runs``."""
    routes = APIRouter(prefix="/api/runs")

    def opened(thing: str) -> CorrectedRun:
        return context.runs.get(context.library.get(thing, "run").path)

    @routes.get("/{thing}", response_model=None)
    def facts(thing: str) -> dict[str, Any] | Response:
        """Everything but masks; 202 with the share indexed so far while a long run is being opened."""
        run = context.runs.start(context.library.get(thing, "run").path)
        if isinstance(run, float):
            return JSONResponse({"indexing": run}, 202)
        run.refresh()
        return {
            "id": thing,
            "title": context.library.get(thing, "run").title,
            "command": run.manifest.get("command", []),
            "min_score": run.manifest.get("settings", {}).get("min_score", 0.0),
            "size": list(run.state.size),
            "length": run.state.length,
            "media": _media(context, run),
            "sam": context.sam is not None,
            "examples": _examples_of(context, run),
            **_state(run),
        }

    @routes.get("/{thing}/version")
    def version(thing: str) -> dict[str, int]:
        return {"version": opened(thing).version}

    @routes.get("/{thing}/masks")
    def masks(
        thing: str,
        first: Annotated[int, Query(ge=0)],
        count: Annotated[int, Query(ge=1, le=MOST_FRAMES)] = 64,
    ) -> dict[str, Any]:
        """Counts of every mask in a stretch, by track."""
        run = opened(thing)
        version = run.version
        found = run.masks(first, count)
        counts = {track: [None if mask is None else mask["counts"] for mask in masks] for track, masks in found.items()}
        return {"version": version, "first": first, "tracks": counts}

    @routes.get("/{thing}/timeline")
    def timeline(
        thing: str,
        first: Annotated[int, Query(ge=0)] = 0,
        last: Annotated[int, Query(ge=0)] = 1 << 31,
        buckets: Annotated[int, Query(ge=1, le=_MOST_BUCKETS)] = 1024,
    ) -> dict[str, Any]:
        """Per track and bucket a byte of presence (255: in every frame) and one of mean score, base64."""
        run = opened(thing)
        last = min(last, run.state.length - 1)
        first = min(first, max(last, 0))
        buckets = min(buckets, last - first + 1)
        tracks = {
            track_id: _bucketed(run.presence(track_id)[first : last + 1], buckets) for track_id in run.state.tracks
        }
        return {"version": run.version, "first": first, "last": last, "buckets": buckets, "tracks": tracks}

    @routes.post("/{thing}/corrections")
    def correct(thing: str, correction: Annotated[Correction, Body()]) -> dict[str, Any]:
        run = opened(thing)
        before = set(run.state.tracks)
        run.correct(read_edit(correction.edit, "correction"), correction.based_on)
        return {"new_tracks": sorted(set(run.state.tracks) - before), **_state(run)}

    @routes.get("/{thing}/history")
    def history(thing: str) -> list[dict[str, Any]]:
        return [
            {
                "version": step.entry.version,
                "at": step.entry.at,
                "what": described(step.entry.edit),
                "holds": step.holds,
            }
            for step in opened(thing).steps()
        ]

    @routes.post("/{thing}/export")
    def export(thing: str, wish: Annotated[ExportWish, Body()]) -> dict[str, Any]:
        run = opened(thing)
        written = export_corrected(run, wish.format)
        name = str(written.relative_to(run.path / FOLDER)) if written.is_file() else None
        return {"path": str(written), "file": name}

    @routes.get("/{thing}/exports/{name:path}")
    def exported(thing: str, name: str) -> FileResponse:
        path = inside(opened(thing).path / FOLDER, name)
        return FileResponse(path, filename=path.name)

    return routes


def _state(run: CorrectedRun) -> dict[str, Any]:
    """What changes with a correction."""
    tracks = []
    for track in run.state.tracks.values():
        there = np.flatnonzero(run.presence(track.track_id))
        tracks.append(
            {
                "id": track.track_id,
                "name": track.name,
                "score": round(run.score(track.track_id), 4),
                "frames": len(there),
                "first": int(there[0]) if len(there) else None,
                "last": int(there[-1]) if len(there) else None,
                "color": list(track_color(track.track_id)),
                "drawn": sum(piece.source is None for piece in track.pieces),
            }
        )
    return {
        "version": run.version,
        "tracks": tracks,
        "classes": sorted({track.name for track in run.state.tracks.values()}),
        "checked": [list(stretch) for stretch in run.state.checked],
        "can_undo": run.can_undo,
        "can_redo": run.can_redo,
    }


def _media(context: Context, run: CorrectedRun) -> dict[str, Any] | None:
    """The run's own video, where it is still there and is one."""
    if not isinstance(run.source, str) or "://" in run.source or not Path(run.source).exists():
        return None
    try:
        return media_facts(context, context.library.add("video", Path(run.source)).id)
    except FewmaskError:
        return None


def _examples_of(context: Context, run: CorrectedRun) -> str | None:
    """The set of examples that the run looked for, if it was shown in this studio."""
    support = run.manifest.get("inputs", {}).get("support")
    path = support.get("path") if isinstance(support, dict) else None
    if not isinstance(path, str) or Path(path).parent != context.out / "examples":
        return None
    return Path(path).name


def _bucketed(presence: Presence, buckets: int) -> dict[str, str]:
    edges = np.linspace(0, len(presence), buckets + 1).round().astype(np.int64)
    starts, widths = edges[:-1], np.diff(edges)
    there = np.add.reduceat(presence > 0, starts, dtype=np.float64)
    score = np.add.reduceat(presence, starts, dtype=np.float64)
    share = np.ceil(255 * there / widths).astype(np.uint8)  # a single frame is still seen
    mean = np.where(there > 0, score / np.maximum(there, 1), 0).astype(np.uint8)
    return {"there": base64.b64encode(share.tobytes()).decode(), "score": base64.b64encode(mean.tobytes()).decode()}
