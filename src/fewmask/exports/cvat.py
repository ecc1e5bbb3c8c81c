"""CVAT for video 1.1: tracks of polygons.

CVAT has mask shapes, but no mask *tracks*: its importer keeps only the first frame of a ``<track>`` of ``<mask>``.
Polygon tracks are what keeps an identity over frames, and CVAT allows one polygon per track and frame. So each mask
becomes the one polygon that runs along its pixel edges, holes and separate parts joined by paths that enclose nothing:
rasterised by pixel centres it gives the mask back exactly (CVAT's own rasteriser may differ by border pixels).
"""

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from fewmask.media import rle
from fewmask.media.outline import Point, one_polygon, outline_loops
from fewmask.media.results import Track
from fewmask.media.rle import Rle
from fewmask.media.video_tracks import VideoTracks


def cvat_xml(result: VideoTracks) -> str:
    """The document for CVAT's "Upload annotations" with the format "CVAT 1.1" (for video) in a task of the same frames.

    The task's labels need the class names. Track ids are kept in ``id``; CVAT numbers tracks anew when it imports.
    From its first mask on a track has one shape per frame; where it is absent, or the frame is not annotated, the
    shape is marked ``outside`` (CVAT has no *unknown*) and repeats the last mask's box. Only the first of a run of such
    shapes is a key frame. Tracks without any mask are left out: CVAT refuses them.
    """
    return "".join(_lines(result))


def _lines(result: VideoTracks) -> Iterator[str]:
    height, width = result.size
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta>\n<task>\n'
    yield f"<name>{escape(result.name)}</name>\n<size>{result.length}</size>\n<mode>interpolation</mode>\n"
    yield f"<start_frame>0</start_frame>\n<stop_frame>{max(result.length - 1, 0)}</stop_frame>\n<labels>\n"
    for _, name in sorted(result.categories.items()):
        yield f"<label><name>{escape(name)}</name><type>polygon</type><attributes></attributes></label>\n"
    yield f"</labels>\n<original_size><width>{width}</width><height>{height}</height></original_size>\n"
    yield "</task>\n</meta>\n"
    for track in result.tracks:
        yield from _track(track, result.categories[track.category_id])
    yield "</annotations>\n"


def _track(track: Track, label: str) -> Iterator[str]:
    box: list[Point] = []
    was_present = False
    for index, mask in enumerate(track.masks):
        polygon = mask_polygon(mask) if mask is not None else []
        if polygon:
            if not box:
                yield f'<track id="{track.track_id}" label={quoteattr(label)} source="auto">\n'
            box = _box(polygon)
            yield _shape(index, polygon, outside=False, keyframe=True)
        elif box:
            yield _shape(index, box, outside=True, keyframe=was_present)
        was_present = bool(polygon)
    if box:
        yield "</track>\n"


def mask_polygon(mask: Rle) -> list[Point]:
    """The one polygon of a mask in pixel-edge coordinates: x in 0..W, y in 0..H; empty for an empty mask."""
    left, top, width, height = (int(value) for value in rle.bbox(mask))
    if width == 0 or height == 0:
        return []
    crop = rle.decode(mask)[top : top + height, left : left + width]
    return [(x + left, y + top) for x, y in one_polygon(outline_loops(crop))]


def _box(polygon: list[Point]) -> list[Point]:
    left, right = min(x for x, _ in polygon), max(x for x, _ in polygon)
    top, bottom = min(y for _, y in polygon), max(y for _, y in polygon)
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _shape(index: int, polygon: list[Point], *, outside: bool, keyframe: bool) -> str:
    points = ";".join(f"{x}.00,{y}.00" for x, y in polygon)
    return (
        f'<polygon frame="{index}" keyframe="{keyframe:d}" outside="{outside:d}" occluded="0" '
        f'points="{points}" z_order="0"></polygon>\n'
    )
