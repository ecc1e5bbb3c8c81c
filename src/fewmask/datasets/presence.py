"""Which class is visible in which frames of which video, under names that survive renumbering."""

from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from fewmask.datasets import json_file
from fewmask.datasets.episodes import Presence
from fewmask.datasets.ytvis_types import YtvisDataset, YtvisVideo
from fewmask.errors import DatasetError
from fewmask.media.atomic import write_json


def video_names(dataset: YtvisDataset) -> dict[int, str]:
    """Video id -> name: the folder its frames lie in, or the id where the folder is not its own.

    Ids change when a file is split or merged, folders do not; so seeded draws go by name.
    """
    folders = {video.id: _folder(video) for video in dataset.videos}
    used = Counter(folders.values())
    return {key: name if name and used[name] == 1 else str(key) for key, name in folders.items()}


def presence_of(dataset: YtvisDataset) -> Presence:
    """The frames in which each class covers at least one pixel; crowds do not count."""
    names = video_names(dataset)
    visible: dict[int, dict[str, set[int]]] = {category.id: {} for category in dataset.categories}
    for annotation in dataset.annotations:
        frames = np.flatnonzero(annotation.mask_areas).tolist()
        if frames and not annotation.iscrowd:
            visible[annotation.category_id].setdefault(names[annotation.video_id], set()).update(frames)
    return {category: {name: sorted(frames) for name, frames in videos.items()} for category, videos in visible.items()}


def write_presence(path: str | Path, presence: Presence) -> None:
    """Write the listing as JSON, ``{"<class id>": {"<video>": [frames]}}``, whole or not at all.

    Raises:
        FewmaskError: the folder cannot be written.
    """
    write_json(Path(path), {str(category): dict(videos) for category, videos in presence.items()})


def read_presence(path: str | Path) -> Presence:
    """The listing of a file that `write_presence` wrote.

    Raises:
        DatasetError: malformed; the message names class and video.
    """
    path = Path(path)
    presence: dict[int, dict[str, list[int]]] = {}
    for category, videos in json_file.load_object(path).items():
        if not (category.isascii() and category.isdecimal() and isinstance(videos, dict)):
            raise DatasetError(f"{path}: {category[:40]!a} must be a class id with an object of videos")
        for name, frames in videos.items():
            whole = isinstance(frames, list) and {type(frame) for frame in frames} <= {int}
            if not whole or sorted(set(frames)) != frames or min(frames, default=0) < 0:
                raise DatasetError(f"{path}: class {category}, video {name[:60]!a}: frames must be ascending numbers")
        presence[int(category)] = videos
    return presence


def _folder(video: YtvisVideo) -> str:
    parents = {str(PurePosixPath(name).parent) for name in video.file_names}
    # VSPW keeps the frames of every video in a folder of that name within the video's own.
    return parents.pop().removesuffix("/origin") if len(parents) == 1 and "." not in parents else ""
