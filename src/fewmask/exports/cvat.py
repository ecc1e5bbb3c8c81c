"""CVAT: tracks of polygons ("CVAT for video 1.1"), or the exact masks of every picture ("CVAT for images 1.1").

CVAT keeps an object's identity over frames in tracks of polygons, one polygon per track and frame. It has mask shapes,
but no mask *tracks*: its importer keeps only the first frame of a ``<track>`` of ``<mask>``. So there are two forms.
The first is the one to correct in: simple polygons on few key frames (`fewmask.exports.polygon_track`). The second has
every mask to the pixel, and each belongs to its track by the attribute alone.

CVAT numbers tracks anew when it imports. What keeps the id is the attribute `TRACK_ID` of each shape, for which the
task's labels must have it: paste `cvat_labels` as the labels ("Raw") of the task.
"""

from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from fewmask.exports.polygon_track import PolygonShape, polygon_track
from fewmask.exports.polygons import MIN_IOU
from fewmask.media import rle
from fewmask.media.frame_names import frame_name
from fewmask.media.results import Track
from fewmask.media.rle import Rle
from fewmask.media.video_tracks import VideoTracks

TRACK_ID = "track_id"
"""Attribute of every shape; 0, which new shapes have, is none."""
_HIGHEST = 1_000_000


def cvat_labels(result: VideoTracks) -> list[dict[str, Any]]:
    """The labels of a CVAT task, as its constructor takes them under "Raw"."""
    values = ["0", str(_HIGHEST), "1"]
    attribute = {"name": TRACK_ID, "input_type": "number", "mutable": False, "values": values, "default_value": "0"}
    return [{"name": name, "type": "any", "attributes": [attribute]} for _, name in sorted(result.categories.items())]


def cvat_xml(result: VideoTracks, min_iou: float = MIN_IOU) -> str:
    """The document for CVAT's "Upload annotations" as "CVAT 1.1" (for video), in a task of the same frames.

    From its first mask on a track has one shape per frame. Polygons on key frames have at least 0.97 IoU with their
    masks, those interpolated between at least ``min_iou``. Where the track is absent, or the frame is not annotated,
    the shape is marked ``outside`` (CVAT has no *unknown*) and repeats the last polygon's box. Tracks without any mask
    are left out: CVAT refuses them.
    """
    return "".join(_video_lines(result, min_iou))


def cvat_images_xml(result: VideoTracks) -> str:
    """The document for "Upload annotations" as "CVAT 1.1" (for images): every known frame's masks, to the pixel."""
    return "".join(_image_lines(result))


def _video_lines(result: VideoTracks, min_iou: float) -> Iterator[str]:
    yield from _head(result, "interpolation", "polygon")
    for track in result.tracks:
        shapes = polygon_track(track.masks, min_iou)
        if shapes:
            yield f'<track id="{track.track_id}" label={quoteattr(_label(result, track))} source="auto">\n'
            yield from (_polygon(shape, track) for shape in shapes)
            yield "</track>\n"
    yield "</annotations>\n"


def _image_lines(result: VideoTracks) -> Iterator[str]:
    height, width = result.size
    yield from _head(result, "annotation", "mask")
    for index in result.known_frames:
        name = quoteattr(frame_name(result.name, index, result.file_names))
        yield f'<image id="{index}" name={name} width="{width}" height="{height}">\n'
        for track in result.tracks:
            mask = track.masks[index]
            if mask is not None and rle.area(mask):
                yield _mask(mask, _label(result, track), track)
        yield "</image>\n"
    yield "</annotations>\n"


def _head(result: VideoTracks, mode: str, kind: str) -> Iterator[str]:
    height, width = result.size
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta>\n<task>\n'
    yield f"<name>{escape(result.name)}</name>\n<size>{result.length}</size>\n<mode>{mode}</mode>\n"
    yield f"<start_frame>0</start_frame>\n<stop_frame>{max(result.length - 1, 0)}</stop_frame>\n<labels>\n"
    attribute = (
        f"<attribute><name>{TRACK_ID}</name><mutable>False</mutable><input_type>number</input_type>"
        f"<default_value>0</default_value><values>0\n{_HIGHEST}\n1</values></attribute>"
    )
    for _, name in sorted(result.categories.items()):
        yield f"<label><name>{escape(name)}</name><type>{kind}</type><attributes>{attribute}</attributes></label>\n"
    yield f"</labels>\n<original_size><width>{width}</width><height>{height}</height></original_size>\n"
    yield "</task>\n</meta>\n"


def _label(result: VideoTracks, track: Track) -> str:
    return result.categories[track.category_id]


def _identity(track: Track) -> str:
    return f'<attribute name="{TRACK_ID}">{track.track_id}</attribute>'


def _polygon(shape: PolygonShape, track: Track) -> str:
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in shape.points.tolist())
    return (
        f'<polygon frame="{shape.frame}" keyframe="{shape.keyframe:d}" outside="{shape.outside:d}" occluded="0" '
        f'points="{points}" z_order="0">{_identity(track)}</polygon>\n'
    )


def _mask(mask: Rle, label: str, track: Track) -> str:
    left, top, width, height = (int(value) for value in rle.bbox(mask))
    inside = rle.decode(mask)[top : top + height, left : left + width].ravel()
    # Run lengths row by row, the first of what is outside.
    ends = np.flatnonzero(np.diff(inside, prepend=False, append=not inside[-1]))
    runs = ", ".join(map(str, np.diff(ends, prepend=0).tolist()))
    return (
        f'<mask label={quoteattr(label)} source="auto" occluded="0" rle="{runs}" left="{left}" top="{top}" '
        f'width="{width}" height="{height}" z_order="0">{_identity(track)}</mask>\n'
    )
