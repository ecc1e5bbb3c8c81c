"""Pictures with objects as people drew them in an annotation tool, on the way to a dataset with track ids."""

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewmask.datasets.coco import CocoAnnotation, CocoDataset, CocoImage, annotation_of
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.rle import Rle


@dataclass
class DrawnObject:
    """One object in one picture.

    Attributes:
        label: its class.
        parts: masks that together are the object, at least one.
        track: the id that it has over the pictures of its video; None for what was drawn anew.
    """

    label: str
    parts: list[Rle]
    track: int | None = None


@dataclass
class DrawnPicture:
    """One picture; ``frame`` is its place in the video, where the file says it."""

    file_name: str
    size: tuple[int, int]
    frame: int | None = None
    objects: list[DrawnObject] = field(default_factory=list)


def drawn_dataset(
    pictures: Sequence[DrawnPicture], labels: Sequence[str], root: Path, path: Path, *, is_video: bool = False
) -> tuple[CocoDataset, list[str]]:
    """The pictures as one COCO dataset, and what had to be decided, in words.

    Where any object has a track, the pictures of a folder are the frames of a video: they get ``video_id`` and
    ``frame_index``, objects ``instance_id``. Tracks keep their ids; an object drawn anew, in one picture, gets the next
    free one. A track that was given different classes has the one that most of its pictures say.

    Args:
        labels: the classes, ids from 1 in this order.
        root: the folder that file names are relative to.
        path: where this was read from.
        is_video: the file says itself that its pictures are frames, so they are also where no object is left.

    Raises:
        DatasetError: a picture is there twice, or an object has two tracks' worth of masks in one picture.
    """
    names = Counter(picture.file_name for picture in pictures)
    if names and max(names.values()) > 1:
        raise DatasetError(f"{path}: the picture {names.most_common(1)[0][0]!a} is there twice")
    tracked = any(found.track is not None for picture in pictures for found in picture.objects)
    notes: list[str] = []
    if tracked:
        notes += _give_ids(pictures)
    elif not any(picture.objects for picture in pictures):
        tracked = is_video
    ids = {label: number for number, label in enumerate(labels, start=1)}
    folders = list(dict.fromkeys(posixpath.dirname(picture.file_name) for picture in pictures))
    images: list[CocoImage] = []
    annotations: list[CocoAnnotation] = []
    for number, picture in enumerate(pictures, start=1):
        video = folders.index(posixpath.dirname(picture.file_name)) + 1
        frame = number - 1 if picture.frame is None else picture.frame
        place = {"video_id": video, "frame_index": frame} if tracked else {}
        images.append(CocoImage(number, picture.file_name, *picture.size, place))
        annotations += list(_annotations(picture, number, len(annotations) + 1, ids, path))
    categories = {number: label for label, number in ids.items()}
    return CocoDataset(tuple(images), tuple(annotations), categories, root, path=path), notes


def _give_ids(pictures: Sequence[DrawnPicture]) -> list[str]:
    """Ids for what has none, one class for every track; what was decided."""
    known: dict[int, Counter[str]] = {}
    for picture in pictures:
        for found in picture.objects:
            if found.track is not None:
                known.setdefault(found.track, Counter())[found.label] += 1
    fresh = max(known) + 1
    first = fresh
    for picture in pictures:
        for found in picture.objects:
            if found.track is None:
                found.track, fresh = fresh, fresh + 1
            elif len(known[found.track]) > 1:
                found.label = known[found.track].most_common(1)[0][0]
    notes = []
    if fresh > first:
        notes.append(f"{fresh - first} objects without a track id have new ones, {first} to {fresh - 1}")
    mixed = [track for track, labels in sorted(known.items()) if len(labels) > 1]
    if mixed:
        notes.append(f"tracks with several classes have their most frequent one: {', '.join(map(str, mixed))}")
    return notes


def _annotations(
    picture: DrawnPicture, image_id: int, number: int, ids: dict[str, int], path: Path
) -> Iterator[CocoAnnotation]:
    seen: set[int] = set()
    for found in picture.objects:
        if found.track is not None and found.track in seen:
            raise DatasetError(
                f"{path}: {picture.file_name}: track {found.track} is there twice; a track has one object per picture"
            )
        if found.track is not None:
            seen.add(found.track)
        mask = rle.union(found.parts) if len(found.parts) > 1 else found.parts[0]
        if rle.area(mask) == 0:
            continue
        extra = {} if found.track is None else {"instance_id": found.track}
        yield annotation_of(mask, annotation_id=number, image_id=image_id, category_id=ids[found.label], extra=extra)
        number += 1
