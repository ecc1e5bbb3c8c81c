"""What a MinVIS segmenter trains on: labelled frames, grouped by video; a still picture is a video of one frame.

One frame is drawn from a video per sample, so that long videos weigh no more than short ones (official recipes). Only
the instances visible in that frame are its targets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.datasets.coco import CocoDataset
from fewmask.datasets.json_file import path_inside
from fewmask.datasets.pictures import read_picture
from fewmask.datasets.sparse_frames import sparse_frames
from fewmask.datasets.ytvis_types import YtvisDataset, result_from_masks
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.rle import Rle
from fewmask.minvis.augment import LabelledFrame
from fewmask.minvis.coco_figures import coco_figures
from fewmask.minvis.segmenter import QuerySegmenter

Validation = Callable[[QuerySegmenter], dict[str, float]]


@dataclass(frozen=True)
class FrameLabels:
    """One picture on disk and its instances.

    Attributes:
        path: of the picture.
        size: (height, width).
        masks: of the instances it shows.
        labels: their classes, from 0.
        identities: one number per object, the same in all frames of a video.
        time: frame of its video.
        unknown: regions that may hold further objects: crowds, and what a teacher was not sure of.
    """

    path: Path
    size: tuple[int, int]
    masks: tuple[Rle, ...]
    labels: tuple[int, ...]
    identities: tuple[int, ...] = ()
    time: int = 0
    unknown: tuple[Rle, ...] = ()

    def load(self) -> LabelledFrame:
        """Decode picture and masks.

        Raises:
            DatasetError: unreadable, or not of the size the labels have.
        """
        rgb = read_picture(self.path, self.size, "its label")
        masks = rle.decode_many(self.masks) if self.masks else np.zeros((0, *self.size), dtype=bool)
        unknown = np.asarray(rle.decode_many(self.unknown).any(axis=0)) if self.unknown else None
        return LabelledFrame(rgb, masks, np.asarray(self.labels, dtype=np.int64), unknown)


@dataclass(frozen=True)
class TrainingData:
    """Labelled videos, class names by label, and how to measure a segmenter on held-out data, if there is any."""

    videos: tuple[tuple[FrameLabels, ...], ...]
    categories: tuple[str, ...]
    validate: Validation | None = None


def coco_data(
    dataset: CocoDataset, *, class_agnostic: bool, hold_out: int = 0, require: str | None = None
) -> TrainingData:
    """Pictures of a COCO dataset; crowds are unknown regions.

    Args:
        class_agnostic: all categories become the class "object".
        hold_out: images whose id is divisible by it are for validation (mask AP); 0 = none.
        require: use only images with this field true in the file.

    Raises:
        DatasetError: no picture is left to train on.
    """
    usable = [image for image in dataset.images if require is None or image.extra.get(require)]
    held_out = [image for image in usable if hold_out and image.id % hold_out == 0]
    skip = {image.id for image in held_out}
    label_of = _labels(dataset.categories, class_agnostic)
    videos: list[tuple[FrameLabels, ...]] = []
    for image in usable:
        if image.id in skip:
            continue
        annotations = [a for a in dataset.annotations_of[image.id] if not a.iscrowd]
        labels = FrameLabels(
            dataset.path_of(image),
            (image.height, image.width),
            tuple(a.mask for a in annotations),
            tuple(label_of[a.category_id] for a in annotations),
            unknown=tuple(a.mask for a in dataset.annotations_of[image.id] if a.iscrowd),
        )
        videos.append((labels,))
    categories = None if class_agnostic else sorted(dataset.categories)
    validate = None
    if held_out:

        def validate(segmenter: QuerySegmenter) -> dict[str, float]:
            return coco_figures(segmenter, dataset, held_out, categories=categories)

    return _checked(videos, _names(dataset.categories, class_agnostic), dataset.images_root, validate)


def ytvis_data(
    dataset: YtvisDataset, images_root: Path, *, class_agnostic: bool, ratio: float = 1.0, hold_out: int = 0
) -> TrainingData:
    """Frames of a YouTube-VIS or OVIS dataset, sub-sampled per video by the paper's rule.

    Args:
        images_root: folder that the file names are relative to.
        class_agnostic: all categories become the class "object".
        ratio: share of each video's frames whose masks are used, in (0, 1]; at least one frame per video.
        hold_out: videos whose id is divisible by it are for validation (video AP); 0 = none.

    Raises:
        DatasetError: a video without file names, or none left to train on.
    """
    names = {category.id: category.name for category in dataset.categories}
    label_of = _labels(names, class_agnostic)
    tracks: dict[int, list[Any]] = {video.id: [] for video in dataset.videos}
    doubtful: dict[int, list[Any]] = {video.id: [] for video in dataset.videos}
    for annotation in dataset.annotations:
        (doubtful if annotation.iscrowd else tracks)[annotation.video_id].append(annotation)
    held_out = {video.id for video in dataset.videos if hold_out and video.id % hold_out == 0}
    videos = []
    for video in dataset.videos:
        if video.id in held_out:
            continue
        if not video.file_names:
            raise DatasetError(f"video {video.id} has no file_names; training needs its frames")
        known = range(video.length) if video.annotated_frames is None else video.annotated_frames
        frames = []
        for position in sparse_frames(len(known), ratio) if known else ():
            t = known[position]
            visible = [a for a in tracks[video.id] if a.segmentations[t] is not None and a.mask_areas[t] > 0]
            path = path_inside(images_root, video.file_names[t], f"video {video.id}, frame {t}")
            labels = tuple(label_of[a.category_id] for a in visible)
            frames.append(
                FrameLabels(
                    path,
                    (video.height, video.width),
                    tuple(a.segmentations[t] for a in visible),
                    labels,
                    tuple(a.id for a in visible),
                    t,
                    tuple(mask for a in doubtful[video.id] if (mask := a.segmentations[t]) is not None),
                )
            )
        if frames:
            videos.append(tuple(frames))
    validate = _video_validation(dataset, images_root, held_out, class_agnostic) if held_out else None
    return _checked(videos, _names(names, class_agnostic), images_root, validate)


def joined(parts: Sequence[TrainingData], repeat: Sequence[int] = ()) -> TrainingData:
    """Several data sets as one; classes go by their names, and validation is that of the first.

    Args:
        repeat: how often the videos of each part come in an epoch; 1 where it says nothing.

    Raises:
        DatasetError: a part names a class that the first lacks.
    """
    first, videos = parts[0], list[tuple[FrameLabels, ...]]()
    for number, part in enumerate(parts):
        unknown = [name for name in part.categories if name not in first.categories]
        if unknown:
            raise DatasetError(f"data set {number + 1} has the class {unknown[0]!r}, which the first one lacks")
        label_of = [first.categories.index(name) for name in part.categories]
        mapped = [
            tuple(replace(frame, labels=tuple(label_of[label] for label in frame.labels)) for frame in video)
            for video in part.videos
        ]
        videos += mapped * (repeat[number] if number < len(repeat) else 1)
    return TrainingData(tuple(videos), first.categories, first.validate)


def _video_validation(
    dataset: YtvisDataset, images_root: Path, video_ids: set[int], class_agnostic: bool
) -> Validation:
    """Video AP of MinVIS with the segmenter on the held-out videos."""
    from fewmask.metrics.ytvis import evaluate_ytvis
    from fewmask.minvis.stream import MinVIS

    held_out = replace(
        dataset,
        videos=tuple(video for video in dataset.videos if video.id in video_ids),
        annotations=tuple(a for a in dataset.annotations if a.video_id in video_ids),
    )
    ids = [held_out.categories[0].id] if class_agnostic else sorted(category.id for category in dataset.categories)

    def validate(segmenter: QuerySegmenter) -> dict[str, float]:
        results = []
        for video in held_out.videos:
            found = MinVIS(segmenter).segment([images_root / name for name in video.file_names])
            for track in found.tracks:
                category = ids[0] if class_agnostic else ids[track.category_id - 1]
                results.append(
                    result_from_masks(
                        video_id=video.id, category_id=category, score=track.score, segmentations=list(track.masks)
                    )
                )
        scores = evaluate_ytvis(held_out, results, class_agnostic=class_agnostic)
        return {name: value for name, value in scores.stats.items() if value is not None}

    return validate


def _labels(categories: Mapping[int, str], class_agnostic: bool) -> dict[int, int]:
    """Category id -> label from 0, in order of id."""
    return {key: 0 if class_agnostic else index for index, key in enumerate(sorted(categories))}


def _names(categories: Mapping[int, str], class_agnostic: bool) -> tuple[str, ...]:
    return ("object",) if class_agnostic else tuple(categories[key] for key in sorted(categories))


def _checked(
    videos: list[tuple[FrameLabels, ...]], categories: tuple[str, ...], where: Path, validate: Validation | None
) -> TrainingData:
    if not videos:
        raise DatasetError(f"{where}: no picture left to train on; check hold_out and require")
    return TrainingData(tuple(videos), categories, validate)
