"""Results read back from the files of a run, or from any YouTube-VIS result file of one video."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewmask.datasets.ytvis import YtvisResult, read_ytvis_results
from fewmask.errors import DatasetError
from fewmask.media.results import Size, Track
from fewmask.media.video_facts import NAME, VideoFacts


def read_run(folder: Path, *, shown_only: bool) -> dict[str, Any]:
    """The fields of a `VideoTracks`, of the run in ``folder``; see `VideoResult.from_run`."""
    facts = VideoFacts.read(folder)
    fields = {**_fields(folder / "tracks.json", facts), "source": _source(folder)}
    if shown_only and facts.shown is not None:
        shown = set(facts.shown)
        fields["tracks"] = tuple(track for track in fields["tracks"] if track.track_id in shown)
    return fields


def read_file(path: Path, *, categories: Mapping[int, str] | None, video_id: int | None) -> dict[str, Any]:
    """The fields of a `VideoTracks`, of one result file; see `VideoResult.from_file`."""
    if categories is None and video_id is None and (path.parent / NAME).is_file():
        return _fields(path, VideoFacts.read(path.parent))
    results = read_ytvis_results(path)
    videos = sorted({result.video_id for result in results})
    if video_id is None and len(videos) > 1:
        raise DatasetError(f"{path}: holds results of {len(videos)} videos; say which with video_id")
    chosen = [result for result in results if video_id is None or result.video_id == video_id]
    height, width = _size(chosen, path)
    known = {result.category_id: f"class {result.category_id}" for result in chosen}
    facts = VideoFacts(
        name=path.parent.name if path.stem == "tracks" else path.stem,
        height=height,
        width=width,
        categories=dict(categories) if categories is not None else known,
        length=len(chosen[0].segmentations),
    )
    return _as_fields(chosen, facts, path)


def _fields(path: Path, facts: VideoFacts) -> dict[str, Any]:
    return _as_fields(read_ytvis_results(path), facts, path)


def _as_fields(results: "list[YtvisResult] | tuple[YtvisResult, ...]", facts: VideoFacts, path: Path) -> dict[str, Any]:
    lengths = {len(result.segmentations) for result in results}
    length = facts.length if facts.length is not None else max(lengths, default=0)
    if lengths - {length}:
        raise DatasetError(f"{path}: tracks have {max(lengths)} frames, the video {length}; these files do not belong")
    numbered = [result.track_id for result in results]
    ids = range(1, len(results) + 1) if None in numbered else numbered
    return {
        "name": facts.name,
        "size": (facts.height, facts.width),
        "length": length,
        "tracks": tuple(
            Track(track_id or 0, result.category_id, result.score, tuple(result.segmentations))
            for track_id, result in zip(ids, results, strict=True)
        ),
        "categories": facts.categories,
        "fps": facts.fps,
        "file_names": None if facts.file_names is None else facts.file_names[:length],
        "annotated_frames": facts.known_frames,
    }


def _source(folder: Path) -> str | None:
    """The source as the manifest has it, which may be gone by now."""
    try:
        stated = json.loads((folder / "manifest.json").read_bytes())["inputs"]["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    place = stated.get("path") if isinstance(stated, dict) else stated
    return place if isinstance(place, str) else None


def _size(results: list[YtvisResult], path: Path) -> Size:
    for result in results:
        for mask in result.segmentations:
            if mask is not None:
                return mask["size"][0], mask["size"][1]
    raise DatasetError(f"{path}: holds no mask, so that the size of the video is not known; read the run with from_run")
