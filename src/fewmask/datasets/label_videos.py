"""Videos whose masks are one label map per frame, a picture of labels.

What a pixel value means: in a video whose maps hold only 0 and 255, 255 is the one object. Where an 8-bit map holds
other values too, 255 is void, and becomes a crowd annotation: evaluation ignores what lies there. Every other value
but 0 is an object, the same object in all frames.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.datasets.label_maps import VOID, LabelMap
from fewmask.datasets.mask_pictures import MASK_SUFFIXES, read_label_map
from fewmask.datasets.pictures import image_file_size
from fewmask.datasets.ytvis_types import (
    YtvisAnnotation,
    YtvisCategory,
    YtvisDataset,
    YtvisVideo,
    annotation_from_masks,
)
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.file_kinds import IMAGE_SUFFIXES, files_in
from fewmask.media.rle import Rle

_MOST_VALUES = 2000


@dataclass(frozen=True)
class LabelVideo:
    """A video as its label maps tell it; ``masks`` maps a pixel value to one mask per frame."""

    size: tuple[int, int]
    file_names: tuple[str, ...]
    masks: Mapping[int, list[Rle | None]]
    void: list[Rle | None]
    annotated_frames: tuple[int, ...] | None


def read_label_video(pictures: Path | None, labels: Path | None, prefix: str) -> LabelVideo:
    """Read one video.

    Args:
        pictures: folder of its frames; None where there are none, then the label maps tell the frames.
        labels: folder of its label maps, each named as its frame; frames without one are unknown. None: all are.
        prefix: put before the frames' file names.

    Raises:
        DatasetError: a label map without a frame, of another size, or unreadable; a video without frames.
    """
    pairs = label_pairs(pictures, labels)
    if not pairs:
        raise DatasetError(f"{pictures or labels}: no frames there")
    size = image_file_size(pairs[0][0])
    values: list[dict[int, Rle]] = []
    wide = False
    for frame, label_path in pairs:
        if label_path is None:
            values.append({})
            continue
        if image_file_size(frame) != size:
            raise DatasetError(f"{frame}: its size differs from that of {pairs[0][0].name}; a video has one size")
        label_map = read_label_map(label_path, size=size)
        wide = wide or label_map.dtype.itemsize > 1
        values.append(split_labels(label_map, label_path))
    annotated = tuple(index for index, (_, label_path) in enumerate(pairs) if label_path is not None)
    found = sorted({value for masks in values for value in masks})
    tracks = {value: [masks.get(value) for masks in values] for value in found}
    void: list[Rle | None] = (
        tracks.pop(VOID) if VOID in tracks and len(tracks) > 1 and not wide else [None] * len(pairs)
    )
    names = tuple(prefix + (frame.name if pictures is not None else frame.stem + ".jpg") for frame, _ in pairs)
    return LabelVideo(size, names, tracks, void, None if len(annotated) == len(pairs) else annotated)


def label_pairs(pictures: Path | None, labels: Path | None) -> list[tuple[Path, Path | None]]:
    """Every frame in natural order with its label map of the same name, None where there is none.

    Raises:
        DatasetError: a folder cannot be read, two frames have one name, or a label map has no frame.
    """
    maps: dict[str, Path] = {}
    for path in [] if labels is None else label_files(labels):
        if path.stem in maps:
            raise DatasetError(f"{path}: {maps[path.stem].name} has the same name; a frame has one label map")
        maps[path.stem] = path
    if pictures is None:
        return [(path, path) for path in maps.values()]
    frames: dict[str, Path] = {}
    for frame in _files(pictures, IMAGE_SUFFIXES):
        if frame.stem in frames:
            raise DatasetError(f"{frame}: {frames[frame.stem].name} has the same name; one mask cannot belong to both")
        frames[frame.stem] = frame
    for stem, path in maps.items():
        if stem not in frames:
            raise DatasetError(f"{path}: no frame of that name among the {len(frames)} in {pictures}")
    return [(frame, maps.get(stem)) for stem, frame in frames.items()]


def split_labels(label_map: LabelMap, path: Path) -> dict[int, Rle]:
    """Value -> mask, for every value but 0 in the map.

    Raises:
        DatasetError: far more values than objects, as in a depth map.
    """
    counts = np.bincount(label_map.reshape(-1))  # quicker than sorting the pixels
    values = [value for value in np.flatnonzero(counts).tolist() if value]
    if len(values) > _MOST_VALUES:
        raise DatasetError(
            f"{path}: {len(values)} different values; is it a picture or depth map instead of a label map?"
        )
    masks: list[Rle] = []
    for start in range(0, len(values), 16):  # few bitmaps at a time
        masks += rle.encode_many(np.stack([label_map == value for value in values[start : start + 16]]))
    return dict(zip(values, masks, strict=True))


def dataset_of(videos: Iterable[LabelVideo], category: str) -> YtvisDataset:
    """A dataset of one class; the pixel value of every object is kept as ``info["object_ids"][annotation id]``."""
    parts: list[YtvisVideo] = []
    annotations: list[YtvisAnnotation] = []
    object_ids: dict[str, int] = {}
    for found in videos:
        parts.append(video_entry(found, len(parts) + 1))
        objects = [(value, masks, False) for value, masks in found.masks.items()]
        if any(mask is not None for mask in found.void):
            objects.append((VOID, found.void, True))
        for value, masks, crowd in objects:
            identity = len(annotations) + 1
            annotations.append(
                annotation_from_masks(
                    id=identity, video_id=len(parts), category_id=1, segmentations=masks, iscrowd=crowd
                )
            )
            object_ids[str(identity)] = value
    return YtvisDataset(
        tuple(parts), (YtvisCategory(1, category),), tuple(annotations), info={"object_ids": object_ids}
    )


def video_entry(found: LabelVideo, video_id: int) -> YtvisVideo:
    """The video's entry in a dataset."""
    height, width = found.size
    return YtvisVideo(video_id, width, height, len(found.file_names), found.file_names, found.annotated_frames)


def label_files(folder: Path) -> list[Path]:
    """The pictures of masks directly in ``folder``, in natural order; litter of file systems left out.

    Raises:
        DatasetError: the folder cannot be read.
    """
    return _files(folder, MASK_SUFFIXES)


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    try:
        return files_in(folder, suffixes)
    except OSError as error:
        raise DatasetError(f"{folder}: folder cannot be read ({error.strerror})") from error
