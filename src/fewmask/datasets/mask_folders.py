"""Plain folders of pictures and masks of the same name.

    images/<name>.jpg           masks/<name>.png            pictures of their own, or the frames of one video
    images/<video>/<name>.jpg   masks/<video>/<name>.png    videos

A mask is a picture: 0/255 for one object, or the number of an object in each pixel (see mask_pictures.py for every
form that is read). The same number in two frames of a video is the same object.
"""

from dataclasses import replace
from pathlib import Path

from fewmask.datasets.coco import CocoAnnotation, CocoDataset, CocoImage, annotation_of
from fewmask.datasets.label_maps import VOID
from fewmask.datasets.label_tree import FrameCopies, TreeLayout, object_values, write_label_tree
from fewmask.datasets.label_videos import LabelVideo, dataset_of, label_pairs, read_label_video, split_labels
from fewmask.datasets.mask_pictures import read_label_map
from fewmask.datasets.pictures import image_file_size
from fewmask.datasets.video_list import video_folders
from fewmask.datasets.whole_folder import whole_folder
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.errors import DatasetError

IMAGES, MASKS = "images", "masks"


def read_mask_folders(root: str | Path, *, category: str = "object") -> tuple[YtvisDataset, Path]:
    """Read pictures and masks as videos: one per folder below ``images``, or all of ``images`` as one.

    Args:
        root: the folder that holds ``images`` and ``masks``.
        category: name of the one class.

    Returns:
        The dataset, and the folder that its file names are relative to.

    Raises:
        DatasetError: a folder is missing, or a mask has no picture, another size, or cannot be read.
    """
    root = Path(root)
    images, masks = _both(root)
    names = video_folders(images) or [""]
    return dataset_of((_video(images, masks, name) for name in names), category), images


def read_mask_pictures(root: str | Path, *, category: str = "object") -> CocoDataset:
    """Read pictures and masks as pictures of their own, which may differ in size; folders below ``images`` count too.

    A picture without a mask file is left out: nobody said that it is empty.

    Raises:
        DatasetError: as `read_mask_folders`.
    """
    root = Path(root)
    images, masks = _both(root)
    pictures: list[CocoImage] = []
    annotations: list[CocoAnnotation] = []
    for name in ["", *video_folders(images)]:
        for frame, label_path in label_pairs(images / name, masks / name if (masks / name).is_dir() else None):
            if label_path is None:
                continue
            height, width = image_file_size(frame)
            image = CocoImage(len(pictures) + 1, frame.relative_to(images).as_posix(), height, width)
            pictures.append(image)
            found = split_labels(read_label_map(label_path, size=(height, width)), label_path)
            for value, mask in found.items():
                entry = annotation_of(mask, annotation_id=len(annotations) + 1, image_id=image.id, category_id=1)
                annotations.append(replace(entry, iscrowd=value == VOID and len(found) > 1))
    return CocoDataset(tuple(pictures), tuple(annotations), {1: category}, images, path=root)


def write_mask_folders(
    dataset: YtvisDataset,
    root: str | Path,
    *,
    frames_root: Path,
    frames: FrameCopies = "copy",
    smaller_on_top: bool = False,
) -> None:
    """Write ``images/<video>`` and ``masks/<video>``, whole or not at all. Classes are not part of it.

    Args:
        dataset: what to write; the pixel values are those of `label_tree.object_values`.
        root: folder to make.
        frames_root: folder that the dataset's file names are relative to.
        frames: copy the frames, hard-link them, or leave them out.
        smaller_on_top: where masks overlap, the smaller one wins; otherwise an overlap is refused.

    Raises:
        DatasetError: masks overlap, a frame is missing, or ``root`` exists.
    """
    layout = TreeLayout(IMAGES + "/{video}", MASKS + "/{video}")
    values = object_values(dataset)
    with whole_folder(Path(root)) as folder:
        write_label_tree(
            dataset, folder, layout, values, frames_root=frames_root, frames=frames, smaller_on_top=smaller_on_top
        )


def _both(root: Path) -> tuple[Path, Path]:
    images, masks = root / IMAGES, root / MASKS
    for folder in (images, masks):
        if not folder.is_dir():
            raise DatasetError(f"{folder}: folder is missing; pictures go to images/, masks of the same name to masks/")
    return images, masks


def _video(images: Path, masks: Path, name: str) -> LabelVideo:
    labels = masks / name
    return read_label_video(images / name, labels if labels.is_dir() else None, f"{name}/" if name else "")
