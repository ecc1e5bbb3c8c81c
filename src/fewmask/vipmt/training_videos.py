"""Labelled videos out of dataset files, several of which may be trained on together."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from fewmask.datasets.coco import read_coco
from fewmask.datasets.coco_pictures import annotation_file
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import DatasetError
from fewmask.media.rle import BoolMask
from fewmask.vipmt.episodes import LabelledVideo, videos_of_coco, videos_of_ytvis

ABSENT = -1
"""No category's id: a frame's mask of it is empty."""
Videos = tuple[list[LabelledVideo], Mapping[int, str]]


def read_videos(data: Path, root: Path | None = None) -> Videos:
    """The labelled videos of a COCO or YouTube-VIS format file, and its category names.

    Args:
        data: the JSON file.
        root: folder of the pictures; by default what the format's reader takes.

    Raises:
        DatasetError: malformed, or of neither format.
    """
    data = annotation_file(data)
    try:
        keys = set(json.loads(data.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{data}: cannot be read as JSON ({' '.join(str(error).split())})") from error
    if "videos" in keys:
        videos = read_ytvis(data)
        names = {category.id: category.name for category in videos.categories}
        return videos_of_ytvis(videos, root or data.parent / "JPEGImages", names), names
    if "images" in keys:
        images = read_coco(data, root)
        return videos_of_coco(images, images.categories), images.categories
    raise DatasetError(f"{data}: neither 'videos' nor 'images' in it; give a YouTube-VIS or COCO format file")


def merged_videos(sources: Sequence[Videos]) -> Videos:
    """The videos of several files as those of one: classes of the same name are one class, with the first file's id."""
    if len(sources) == 1:
        return sources[0]
    names: dict[int, str] = {}
    videos: list[LabelledVideo] = []
    for place, (found, own) in enumerate(sources):
        known = {name: key for key, name in names.items()}
        here = {}
        for key, name in own.items():
            free = key if key not in names else max(names) + 1
            here[key] = known.get(name, free)
            names.setdefault(here[key], name)
        there = {merged: key for key, merged in here.items()}
        videos += [_renamed(video, f"file {place + 1}: ", here, there) for video in found]
    return videos, names


def _renamed(video: LabelledVideo, prefix: str, here: Mapping[int, int], there: Mapping[int, int]) -> LabelledVideo:
    frames = tuple(
        replace(frame, key=prefix + frame.key, mask_of=partial(_translated, frame.mask_of, there))
        for frame in video.frames
    )
    return LabelledVideo(prefix + video.name, frames, {here[key]: shown for key, shown in video.shown.items()})


def _translated(mask_of: Callable[[int], BoolMask], there: Mapping[int, int], category: int) -> BoolMask:
    return mask_of(there.get(category, ABSENT))
