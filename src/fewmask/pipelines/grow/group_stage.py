"""The stage *groups*: every mined track embedded, groups of one kind found among them, a contact sheet for each."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.datasets.json_file import load_object
from fewmask.errors import DatasetError, VideoError
from fewmask.media.atomic import write_json
from fewmask.media.rle import Rle
from fewmask.mining.mined_dataset import in_order
from fewmask.pipelines.grow.group_sheet import draw_group
from fewmask.pipelines.grow.groups import Group, Vectors, cluster, resembling
from fewmask.pipelines.grow.kinds import read_vectors, write_vectors
from fewmask.pipelines.grow.track_looks import VIEWS, SeenObject, TrackLooks
from fewmask.pipelines.grow.track_views import SeenTrack, TrackView, mined_picture, mined_tracks

FILE = "groups.json"
VECTORS = "vectors.npy"
_SHEETS = 12


@dataclass(frozen=True, eq=False)
class GroupedTracks:
    """All tracks, what they look like (unit [N, D]), and the groups among them, best first."""

    tracks: tuple[SeenTrack, ...]
    vectors: Vectors
    groups: tuple[Group, ...]


def group_tracks(
    folder: Path,
    dataset: Path,
    results: Sequence[Path],
    keep_every: int,
    looks: TrackLooks,
    *,
    hint: Vectors | None = None,
    name: str = "wanted",
) -> dict[str, Any]:
    """Embed and group the tracks of a mined dataset; writes ``groups.json``, ``vectors.npy`` and the sheets.

    Args:
        folder: of the stage.
        dataset: of the stage mined.
        results: its result files, in order.
        keep_every: of the mining.
        looks: embeds tracks.
        hint: unit vectors [H, D] of what is wanted; then there is one group, of the tracks that resemble it.
        name: of that group.
    """
    tracks: list[SeenTrack] = []
    views: list[list[SeenObject]] = []
    for video in in_order(results):
        for track, seen in _looked_at(dataset, mined_tracks(video, keep_every, views=VIEWS), looks):
            tracks.append(track)
            views.append(seen)
    vectors = looks.embed(views)
    confidences, videos = [track.confidence for track in tracks], [track.video for track in tracks]
    if hint is None:
        groups = cluster(vectors, confidences, videos)
    else:
        groups = resembling(vectors, hint, confidences, videos, name=name)
    write_vectors(folder / VECTORS, vectors)
    write_json(
        folder / FILE,
        {"tracks": [_plain(track) for track in tracks], "groups": [asdict(group) for group in groups]},
    )
    for group in groups[:_SHEETS]:
        title = (
            f"{group.name}: {len(group.members)} tracks of {group.videos} videos, tightness {group.tightness:.2f}, "
            f"confidence {group.confidence:.2f}"
        )
        rows = [
            (
                f"{tracks[place].video}\ntrack {tracks[place].track}\nlikeness {likeness:.2f}",
                [view.picture for view in views[place]],
            )
            for place, likeness in zip(group.members, group.likeness, strict=True)
        ]
        draw_group(folder / f"group-{group.number:02d}.jpg", title, rows)
    return {
        "tracks": len(tracks),
        "groups": [
            {"number": group.number, "tracks": len(group.members), "videos": group.videos,
             "tightness": round(group.tightness, 4), "confidence": round(group.confidence, 4)}
            for group in groups
        ],
    }  # fmt: skip


def _looked_at(
    dataset: Path, tracks: Sequence[SeenTrack], looks: TrackLooks
) -> Iterator[tuple[SeenTrack, list[SeenObject]]]:
    """Tracks of one video with their views; every picture is read and looked at once, for all tracks in it.

    A picture that was moved away costs the tracks that need it.
    """
    masks: dict[int, dict[int, Rle]] = {}
    for place, track in enumerate(tracks):
        for view in track.views:
            masks.setdefault(view.frame, {})[place] = view.mask
    seen: dict[int, dict[int, SeenObject]] = {}
    for frame, wanted in sorted(masks.items()):
        try:
            rgb = mined_picture(dataset, tracks[0].video, frame)
        except VideoError:
            continue
        seen[frame] = dict(zip(wanted, looks.objects(rgb, list(wanted.values())), strict=True))
    for place, track in enumerate(tracks):
        if all(view.frame in seen for view in track.views):
            yield track, [seen[view.frame][place] for view in track.views]


def read_groups(folder: Path) -> GroupedTracks:
    """What `group_tracks` wrote.

    Raises:
        DatasetError: missing or damaged.
    """
    path = folder / FILE
    record = load_object(path)
    try:
        tracks = tuple(_track(entry) for entry in record["tracks"])
        groups = tuple(
            Group(**{**entry, "members": tuple(entry["members"]), "likeness": tuple(entry["likeness"])})
            for entry in record["groups"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: damaged ({error}); delete the folder to do this stage again") from error
    vectors = read_vectors(folder / VECTORS)
    if len(vectors) != len(tracks):
        raise DatasetError(f"{path}: {len(tracks)} tracks and {len(vectors)} vectors; delete the folder to do it again")
    return GroupedTracks(tracks, vectors, groups)


def _plain(track: SeenTrack) -> dict[str, Any]:
    views = [[view.frame, list(view.mask["size"]), view.mask["counts"]] for view in track.views]
    return {**vars(track), "views": views}


def _track(entry: dict[str, Any]) -> SeenTrack:
    views = tuple(
        TrackView(int(frame), {"size": list(size), "counts": counts}) for frame, size, counts in entry["views"]
    )
    return SeenTrack(**{**entry, "views": views})


def typical(group: Group, tracks: Sequence[SeenTrack], most: int, *, per_video: int = 2) -> list[int]:
    """Members of a group to show as examples: the most typical, at most so many of one video."""
    taken: dict[str, int] = {}
    chosen: list[int] = []
    for place in group.members:
        video = tracks[place].video
        taken[video] = taken.get(video, 0) + 1
        if taken[video] <= per_video and len(chosen) < most:
            chosen.append(place)
    return chosen


def unlike(vectors: Vectors, wanted: Vectors, confidences: Sequence[float], most: int) -> list[int]:
    """Tracks that show best what is not meant: sure objects, unlike every wanted one, and unlike one another."""
    if not len(vectors):
        return []
    alike = (vectors @ wanted.T).max(1) if len(wanted) else np.zeros(len(vectors))
    far = np.flatnonzero(alike <= np.median(alike)).tolist()
    candidates = [place for place in far if confidences[place] >= 0.5]
    candidates.sort(key=lambda place: (-confidences[place], place))
    chosen: list[int] = []
    for place in candidates:
        if len(chosen) < most and all(float(vectors[place] @ vectors[other]) < 0.7 for other in chosen):
            chosen.append(place)
    return chosen
