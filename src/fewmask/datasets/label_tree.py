"""Datasets written as trees of frames and PNG label maps (DAVIS, VSPW, plain folders)."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from fewmask.datasets.json_file import path_inside
from fewmask.datasets.known_frames import known_frames
from fewmask.datasets.label_maps import VOID, LabelMap, write_label_map
from fewmask.datasets.presence import video_names
from fewmask.datasets.ytvis_types import YtvisAnnotation, YtvisDataset, YtvisVideo
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.rle import Rle

FrameCopies = Literal["copy", "link", "none"]
_MOST_OBJECTS = 254  # 8-bit values without background and void


@dataclass(frozen=True)
class TreeLayout:
    """Where a tree keeps the frames and the label maps of a video; ``{video}`` stands for its name."""

    frames: str
    labels: str


def write_label_tree(
    dataset: YtvisDataset,
    root: Path,
    layout: TreeLayout,
    values: Mapping[int, int],
    *,
    frames_root: Path,
    frames: FrameCopies = "copy",
    smaller_on_top: bool = False,
) -> list[str]:
    """Write frames and label maps of every video under ``root``; frames in which anything is unknown get no label map.

    Args:
        dataset: what to write.
        root: folder to fill.
        layout: where things go.
        values: annotation id -> pixel value.
        frames_root: folder that the dataset's file names are relative to.
        frames: copy the frames, hard-link them, or leave them out.
        smaller_on_top: where masks overlap, the smaller one wins; otherwise an overlap is refused.

    Returns:
        The names of the videos.

    Raises:
        DatasetError: masks overlap, or a frame is missing or lies outside ``frames_root``.
    """
    names = _folder_names(dataset)
    of_video: dict[int, list[YtvisAnnotation]] = {video.id: [] for video in dataset.videos}
    for annotation in dataset.annotations:
        of_video[annotation.video_id].append(annotation)
    for video in dataset.videos:
        name = names[video.id]
        stems = frame_stems(video)
        if frames != "none":
            _place_frames(video, root / layout.frames.format(video=name), stems, frames_root, frames)
        labels = root / layout.labels.format(video=name)
        tracks = of_video[video.id]
        wide = len(tracks) > 1 and any(values[track.id] == VOID and not track.iscrowd for track in tracks)
        for frame in known_frames(video, tracks):
            masks = [(values[track.id], mask) for track in tracks if (mask := track.segmentations[frame]) is not None]
            where = f"video {name}, frame {stems[frame]}"
            label_map = join_masks(masks, (video.height, video.width), where, smaller_on_top=smaller_on_top)
            write_label_map(labels / f"{stems[frame]}.png", label_map, wide=wide)
    return list(names.values())


def object_values(dataset: YtvisDataset) -> dict[int, int]:
    """Annotation id -> pixel value: as ``info["object_ids"]`` says, else 1, 2, ... within each video, 255 for a crowd.

    Raises:
        DatasetError: more objects in a video than 8 bits hold, or ``object_ids`` that are malformed or clash.
    """
    known = dataset.info.get("object_ids")
    if known is not None:
        return _known_values(dataset, known)
    values: dict[int, int] = {}
    count: dict[int, int] = {}
    for annotation in dataset.annotations:
        if annotation.iscrowd:
            values[annotation.id] = VOID
            continue
        count[annotation.video_id] = values[annotation.id] = count.get(annotation.video_id, 0) + 1
        if values[annotation.id] > _MOST_OBJECTS:
            raise DatasetError(f"video {annotation.video_id}: more than {_MOST_OBJECTS} objects do not fit a label map")
    for annotation in dataset.annotations:
        if annotation.iscrowd and annotation.video_id not in count:
            raise DatasetError(
                f"video {annotation.video_id}: has crowds only; in a label map void alone would read as one object"
            )
    return values


def join_masks(
    masks: Sequence[tuple[int, Rle]], size: tuple[int, int], where: str, *, smaller_on_top: bool = False
) -> LabelMap:
    """The label map [H, W] of (value, mask) pairs; pairs of one value are united.

    Args:
        masks: values in [1, 65535].
        size: (height, width).
        where: video and frame, for the message.
        smaller_on_top: where masks overlap, the smaller one wins; otherwise an overlap is refused.

    Raises:
        DatasetError: two masks overlap.
    """
    labels = np.zeros(size, dtype=np.uint16)
    for value, mask in sorted(masks, key=lambda pair: -rle.area(pair[1])):
        inside = rle.decode(mask)
        under = np.setdiff1d(labels[inside], (0, value))
        if len(under) and not smaller_on_top:
            raise DatasetError(
                f"{where}: objects {under[0]} and {value} overlap, but a label map gives each pixel to one object; "
                "decide with --overlap smaller"
            )
        labels[inside] = value
    return labels


def frame_stems(video: YtvisVideo) -> list[str]:
    """File name without folder and suffix for every frame: the video's own where they differ, else numbers."""
    stems = [PurePosixPath(name).stem for name in video.file_names]
    return stems if stems and len(set(stems)) == len(stems) else [f"{frame:05d}" for frame in range(video.length)]


def _known_values(dataset: YtvisDataset, known: object) -> dict[int, int]:
    values: dict[int, int] = {}
    taken: dict[tuple[int, int], int] = {}
    for annotation in dataset.annotations:
        value = known.get(str(annotation.id)) if isinstance(known, dict) else None
        if type(value) is not int or not 1 <= value <= 65535:
            raise DatasetError(f"{dataset.path}: info: 'object_ids' has no pixel value for annotation {annotation.id}")
        other = taken.setdefault((annotation.video_id, value), annotation.id)
        if other != annotation.id:
            raise DatasetError(
                f"{dataset.path}: info: 'object_ids' gives {value} to annotations {other} and {annotation.id}"
            )
        values[annotation.id] = value
    return values


def _folder_names(dataset: YtvisDataset) -> dict[int, str]:
    """Video id -> one folder name each."""
    names = {key: name.replace("/", "-").replace("\\", "-") for key, name in video_names(dataset).items()}
    return names if len(set(names.values())) == len(names) else {key: str(key) for key in names}


def _place_frames(
    video: YtvisVideo, folder: Path, stems: Sequence[str], frames_root: Path, frames: FrameCopies
) -> None:
    if not video.file_names:
        raise DatasetError(f"video {video.id}: its frames have no file names; leave them out with --frames none")
    folder.mkdir(parents=True, exist_ok=True)
    for name, stem in zip(video.file_names, stems, strict=True):
        source = path_inside(frames_root, name, f"video {video.id}")
        if not source.is_file():
            raise DatasetError(
                f"{source}: frame of video {video.id} is missing; say where frames lie with --frames-root, "
                "or leave them out with --frames none"
            )
        target = folder / (stem + source.suffix)
        if frames == "link":
            os.link(source.resolve(), target)
        else:
            shutil.copyfile(source, target)
