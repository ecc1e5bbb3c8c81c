"""VSPW and MiniVSPW folder trees: semantic label maps per frame, read and written.

    data/<video>/origin/00000001.jpg
    data/<video>/mask/00000001.png      class ids; 0 and 255 are void
    train.txt, val.txt, test.txt        one video a line
    label_num_dic_final.json            class name -> id

VSPW has no instances. In a dataset of tracks each class of a video becomes one track, category id = VSPW id; void
pixels are background there, and are written as 0.
"""

from collections.abc import Iterator
from pathlib import Path

from fewmask.datasets import json_file, mini_vspw
from fewmask.datasets.label_maps import VOID, LabelMap
from fewmask.datasets.label_tree import FrameCopies, TreeLayout, write_label_tree
from fewmask.datasets.label_videos import label_files, read_label_video, video_entry
from fewmask.datasets.mask_pictures import read_label_map
from fewmask.datasets.video_list import listed_videos, video_folders
from fewmask.datasets.whole_folder import whole_folder
from fewmask.datasets.ytvis_types import (
    YtvisAnnotation,
    YtvisCategory,
    YtvisDataset,
    YtvisVideo,
    annotation_from_masks,
)
from fewmask.errors import DatasetError
from fewmask.media.atomic import write_json, write_text

_NAMES_FILE = "label_num_dic_final.json"


def read_vspw(root: str | Path, *, subset: str | None = None) -> tuple[YtvisDataset, Path]:
    """Read a VSPW tree as one track per class and video.

    Args:
        root: the folder that holds ``data``.
        subset: train, val or test: only the videos that this list names; None for all videos.

    Returns:
        The dataset, and the folder that its file names are relative to.

    Raises:
        DatasetError: a folder, list, video or label map is missing or malformed, or a label has no name.
    """
    root = Path(root)
    categories = _categories(root)
    videos: list[YtvisVideo] = []
    annotations: list[YtvisAnnotation] = []
    for name in _videos(root, subset):
        folder = root / "data" / name
        maps = folder / "mask" if (folder / "mask").is_dir() else None
        found = read_label_video(folder / "origin", maps, f"{name}/origin/")
        videos.append(video_entry(found, len(videos) + 1))
        for label, masks in found.masks.items():
            if label == VOID:
                continue
            if label not in categories:
                raise DatasetError(f"{folder}: label {label} is not in {_NAMES_FILE}")
            annotations.append(
                annotation_from_masks(
                    id=len(annotations) + 1, video_id=len(videos), category_id=label, segmentations=masks
                )
            )
    named = tuple(YtvisCategory(key, name) for key, name in sorted(categories.items()))
    return YtvisDataset(tuple(videos), named, tuple(annotations)), root / "data"


def write_vspw(
    dataset: YtvisDataset,
    root: str | Path,
    *,
    frames_root: Path,
    frames: FrameCopies = "copy",
    subset: str = "val",
    smaller_on_top: bool = False,
) -> None:
    """Write a VSPW tree, whole or not at all.

    Args:
        dataset: one track per class and video, category ids in [1, 254].
        root: folder to make.
        frames_root: folder that the dataset's file names are relative to.
        frames: copy the frames, hard-link them, or leave them out.
        subset: name of the list of videos.
        smaller_on_top: where masks overlap, the smaller one wins; otherwise an overlap is refused.

    Raises:
        DatasetError: two tracks of one class in a video (their identity would be lost), a category id that does not
            fit, overlapping masks, a missing frame, or ``root`` exists.
    """
    taken: dict[tuple[int, int], int] = {}
    for annotation in dataset.annotations:
        if not 1 <= annotation.category_id < VOID:
            raise DatasetError(f"annotation {annotation.id}: category id {annotation.category_id} is not in [1, 254]")
        other = taken.setdefault((annotation.video_id, annotation.category_id), annotation.id)
        if other != annotation.id:
            raise DatasetError(
                f"video {annotation.video_id}: tracks {other} and {annotation.id} are of one class; VSPW has no "
                "instances, so they could not be told apart"
            )
    values = {annotation.id: annotation.category_id for annotation in dataset.annotations}
    layout = TreeLayout("data/{video}/origin", "data/{video}/mask")
    with whole_folder(Path(root)) as folder:
        names = write_label_tree(
            dataset, folder, layout, values, frames_root=frames_root, frames=frames, smaller_on_top=smaller_on_top
        )
        write_text(folder / f"{subset}.txt", "".join(f"{name}\n" for name in names))
        write_json(folder / _NAMES_FILE, {category.name: category.id for category in dataset.categories}, indent=1)


def vspw_label_maps(root: str | Path, *, subset: str | None = None) -> Iterator[tuple[str, int, LabelMap]]:
    """(video name, frame index, label map) of every labelled frame, one at a time: what `mini_vspw.list_frames` takes.

    Raises:
        DatasetError: a folder, list, video or label map is missing or malformed.
    """
    root = Path(root)
    for name in _videos(root, subset):
        for index, path in enumerate(label_files(root / "data" / name / "mask")):
            yield name, index, read_label_map(path)


def _videos(root: Path, subset: str | None) -> list[str]:
    data = root / "data"
    if not data.is_dir():
        raise DatasetError(f"{root}: folder 'data' is missing; is it a VSPW tree?")
    if subset is not None:
        return listed_videos(root / f"{json_file.relative_name(subset, 'subset')}.txt")
    return video_folders(data)


def _categories(root: Path) -> dict[int, str]:
    """Class id -> name; the tree's own file, or MiniVSPW's classes and numbers for the others where there is none."""
    path = root / _NAMES_FILE
    if not path.is_file():
        return {label: mini_vspw.NAMES.get(label, f"class_{label}") for label in range(1, VOID)}
    document = json_file.load_object(path)
    names: dict[int, str] = {}
    for name in document:
        label = json_file.integer(document, name, str(path), high=65535)
        if label in names:
            raise DatasetError(f"{path}: {names[label]!a} and {name!a} have the same id {label}")
        names[label] = name
    return {label: name for label, name in names.items() if label not in (0, VOID)}
