"""Which class is visible in which frames of which video, under names that survive renumbering."""

from collections import Counter
from pathlib import PurePosixPath

import numpy as np

from fewmask.datasets.episodes import Presence
from fewmask.datasets.ytvis_types import YtvisDataset, YtvisVideo


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


def _folder(video: YtvisVideo) -> str:
    parents = {str(PurePosixPath(name).parent) for name in video.file_names}
    # VSPW keeps the frames of every video in a folder of that name within the video's own.
    return parents.pop().removesuffix("/origin") if len(parents) == 1 and "." not in parents else ""
