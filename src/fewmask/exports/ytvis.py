"""YouTube-VIS results: what evaluation servers and `fewmask eval ytvis` take."""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fewmask.media.atomic import whole_file
from fewmask.media.video_tracks import VideoTracks


def ytvis_results(result: VideoTracks, video_id: int) -> list[dict[str, Any]]:
    """One entry per track: video_id, track_id, category_id, score, and segmentations with one RLE or None per frame.

    The format has no *unknown*: frames that are not annotated become None like absent ones.
    """
    return [
        {
            "video_id": video_id,
            "track_id": track.track_id,
            "category_id": track.category_id,
            "score": float(track.score),
            "segmentations": list(track.masks),
        }
        for track in result.tracks
    ]


def write_ytvis_zip(results: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    """Write entries of `ytvis_results`, of one or more videos, as ``results.json`` inside a zip; returns its path.

    Entries are written as they come, so that a generator over many videos needs the memory of one.
    """
    path = Path(path)
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        # A fixed date: the same results give the same file.
        member = zipfile.ZipInfo("results.json", date_time=(1980, 1, 1, 0, 0, 0))
        member.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(member, "w", force_zip64=True) as handle:
            separator = "["
            for entry in results:
                handle.write((separator + json.dumps(entry, allow_nan=False)).encode())
                separator = ",\n"
            handle.write(b"]" if separator != "[" else b"[]")
    return path
