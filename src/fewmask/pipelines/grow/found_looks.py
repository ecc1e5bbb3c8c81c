"""What the tracks of a found video look like: their largest masks over time, cut out and embedded."""

import numpy as np

from fewmask.errors import VideoError
from fewmask.media import rle
from fewmask.pipelines.grow.find import FoundVideo
from fewmask.pipelines.grow.groups import Vectors
from fewmask.pipelines.grow.track_looks import VIEWS, SeenObject, TrackLooks
from fewmask.pipelines.grow.track_views import pictures_of


def look_at(found: FoundVideo, looks: TrackLooks, *, views: int = VIEWS) -> dict[int, Vectors]:
    """Vectors [D] by track id; tracks whose frames cannot be read any more are left out.

    Args:
        found: of the stage find.
        looks: embeds tracks.
        views: most pictures per track.
    """
    wanted: dict[int, list[int]] = {}
    for track in found.tracks:
        for index in chosen_frames({index: rle.area(mask) for index, mask in track.masks.items()}, views):
            wanted.setdefault(index, []).append(track.track)
    masks = {track.track: track.masks for track in found.tracks}
    seen: dict[int, list[SeenObject]] = {}
    try:
        for index, rgb in pictures_of(found.source, wanted):
            objects = looks.objects(rgb, [masks[track_id][index] for track_id in wanted[index]])
            for track_id, view in zip(wanted[index], objects, strict=True):
                seen.setdefault(track_id, []).append(view)
    except VideoError:
        pass  # it broke off here before; what came is looked at
    ids = sorted(seen)
    return dict(zip(ids, looks.embed([seen[track_id] for track_id in ids]), strict=True))


def chosen_frames(areas: dict[int, int], views: int) -> list[int]:
    """Frames spread over time, among those where the mask is larger than half of the time: a glimpse tells little."""
    if not areas:
        return []
    middle = float(np.median(list(areas.values())))
    large = sorted(index for index, area in areas.items() if area >= middle)
    places = np.linspace(0, len(large) - 1, min(views, len(large))).round().astype(int)
    return [large[place] for place in places.tolist()]
