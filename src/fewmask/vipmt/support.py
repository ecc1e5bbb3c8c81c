"""Supports as users have them: pictures with masks, read from a folder, a COCO file, or frames of a video."""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewmask.datasets.coco import read_coco
from fewmask.datasets.coco_pictures import annotation_files
from fewmask.datasets.mask_pictures import MASK_SUFFIXES, read_mask
from fewmask.errors import DatasetError, VideoError
from fewmask.media import rle
from fewmask.media.file_kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES, entries, natural_key
from fewmask.media.frames import open_frames
from fewmask.media.given_path import expanded
from fewmask.media.image_pixels import read_rgb

MAX_PICTURES = 256
NEGATIVE_FOLDER = "not"
PICTURE_FOLDER, MASK_FOLDER = "images", "masks"
DEFAULT_NAME = "object"
_PHOTOGRAPHS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".jp2"})
"""Beside one of these a file of the same name and another kind is its mask."""
_log = logging.getLogger("fewmask")
_COCO_HINT = "give one COCO file, or pictures with same-name PNG masks"


@dataclass(frozen=True, eq=False)
class SupportPicture:
    """One picture of the class.

    Raises:
        DatasetError: the mask is empty or of another size than the picture.
    """

    name: str
    """Where it came from; errors name it."""
    rgb: npt.NDArray[np.uint8]
    """[H, W, 3]."""
    mask: npt.NDArray[np.bool_]
    """[H, W], True on every instance of the class."""

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise DatasetError(
                f"{self.name}: the picture is {self.rgb.dtype} {list(self.rgb.shape)}; give uint8 [H, W, 3]"
            )
        if self.mask.shape != self.rgb.shape[:2]:
            raise DatasetError(
                f"{self.name}: the mask is {_size(self.mask.shape)}, the picture {_size(self.rgb.shape)}; "
                "save the mask at the picture's size"
            )
        if not self.mask.any():
            raise DatasetError(f"{self.name}: the mask is empty; mark the object in it or remove the picture")


@dataclass(frozen=True)
class SupportSet:
    """Pictures per class, and pictures of what must not be found.

    Raises:
        DatasetError: a class has no picture, or there are more than ``MAX_PICTURES`` in all.
    """

    classes: dict[str, tuple[SupportPicture, ...]]
    negatives: tuple[SupportPicture, ...] = ()

    def __post_init__(self) -> None:
        if not self.classes or not all(self.classes.values()):
            raise DatasetError("support: no picture with a mask; at least one per class is needed")
        if len(self) > MAX_PICTURES:
            raise DatasetError(f"support: {len(self)} pictures, at most {MAX_PICTURES} can be used; remove some")

    def __len__(self) -> int:
        return sum(map(len, self.classes.values())) + len(self.negatives)


Support = str | Path | SupportSet | Sequence[tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]]
"""A folder or COCO file, a ready set, or (picture, mask) pairs of one class."""


def read_support(support: Support) -> SupportSet:
    """Any form of support as a checked set; everything found is used, refused, or named by the logger "fewmask".

    A folder holds, for one class, pictures with masks beside them: ``dog.jpg`` with ``dog.png`` or
    ``dog_mask.png`` or ``masks/dog.png`` (needed for PNG pictures), or ``images/`` and ``masks/`` with the same names.
    Masks may have any form that `fewmask.datasets.mask_pictures` reads; all that is not background is the object.
    Frames of a video are picked by masks named after it: ``walk.mp4`` with ``walk_12.png`` for frame 12, counted from
    0. A folder of sub-folders holds one class in each, named after it; the sub-folder ``not`` shows what must not be
    found. A COCO JSON file, or a folder with one in the layout of any annotation tool, gives a class per category that
    has annotations; its pictures without any are not support.

    Raises:
        DatasetError: no pictures, a missing, empty, unreadable or wrongly sized mask, or a file that fits nowhere.
    """
    if isinstance(support, SupportSet):
        return support
    if not isinstance(support, str | Path):
        return SupportSet({DEFAULT_NAME: tuple(_pairs(support))})
    path = expanded(support)
    if path.suffix.lower() == ".json" and path.is_file():
        return _read_coco(path)
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder; give a folder of pictures with masks, or a COCO JSON file")
    files = [entry for entry in entries(path) if entry.is_file()]
    folders = [entry for entry in entries(path) if entry.is_dir() and entry.name != MASK_FOLDER]
    annotations = annotation_files(path)
    if len(annotations) > 1:
        raise DatasetError(f"{path}: {len(annotations)} JSON files ({annotations[0].name}, ...); {_COCO_HINT}")
    if annotations:
        return _read_coco(annotations[0], [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES])
    splits = [folder for folder in folders if annotation_files(folder)]
    if splits:
        raise DatasetError(f"{path}: parts of a dataset ({splits[0].name}, ...); give the folder of one of them")
    if not files and (path / PICTURE_FOLDER).is_dir() and (path / MASK_FOLDER).is_dir():
        return SupportSet({path.resolve().name: _read_folder(path, path / PICTURE_FOLDER)})
    if files and [folder for folder in folders if folder.name != NEGATIVE_FOLDER]:
        raise DatasetError(
            f"{path}: pictures beside the folder {folders[0].name}/; put each class into its own folder, or all "
            "pictures of one class directly here"
        )
    classes = {} if not files else {path.resolve().name: _read_folder(path)}
    negatives: tuple[SupportPicture, ...] = ()
    for folder in folders:
        if folder.name == NEGATIVE_FOLDER:
            negatives = _read_folder(folder)
        else:
            classes[folder.name] = _read_folder(folder)
    if not classes:
        raise DatasetError(f"{path}: no pictures there; put in at least one picture with a same-name PNG mask")
    return SupportSet(classes, negatives)


def _pairs(support: object) -> Iterator[SupportPicture]:
    if not isinstance(support, Iterable):
        raise DatasetError(
            f"support is of type {type(support).__name__}; give a folder, a COCO file or pairs of arrays"
        )
    for index, pair in enumerate(support):
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise DatasetError(f"support {index}: is no pair of arrays (picture uint8 [H, W, 3], mask [H, W])")
        yield SupportPicture(f"support {index}", np.asarray(pair[0]), np.asarray(pair[1]) != 0)


def _read_folder(folder: Path, pictures_in: Path | None = None) -> tuple[SupportPicture, ...]:
    """One class: every file in the folder must be a picture, a video or the mask of one."""
    files = [entry for entry in entries(pictures_in or folder) if entry.is_file()]
    mask_folder = folder / MASK_FOLDER
    masks = [file for file in files if file.suffix.lower() in MASK_SUFFIXES and file.stem.endswith("_mask")]
    masks += [entry for entry in entries(mask_folder) if entry.is_file()] if mask_folder.is_dir() else []
    videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES - MASK_SUFFIXES]
    pictures = [file for file in files if file.suffix.lower() in _PHOTOGRAPHS and file not in masks]
    named = {file.stem for file in pictures}
    for file in files:
        if file.suffix.lower() not in MASK_SUFFIXES - _PHOTOGRAPHS or file in masks:
            continue
        if file.stem in named or any(_frame_number(video, file) is not None for video in videos):
            masks.append(file)
        else:
            pictures.append(file)
    known = {*pictures, *masks, *videos}
    odd = [file for file in files if file not in known]
    odd += [mask for mask in masks if mask.suffix.lower() not in MASK_SUFFIXES]
    if odd:
        raise DatasetError(f"{odd[0]}: neither a picture nor a mask; remove it from the support folder")
    unused = set(masks)
    found: list[SupportPicture] = []
    for picture in sorted(pictures, key=natural_key):
        mask = _mask_of(picture, masks)
        unused.discard(mask)
        rgb = _read_picture(picture)
        found.append(SupportPicture(str(picture), rgb, read_mask(mask, size=(rgb.shape[0], rgb.shape[1]))))
    for video in videos:
        picked = {number: mask for mask in masks if (number := _frame_number(video, mask)) is not None}
        unused -= set(picked.values())
        found.extend(_read_video(video, picked))
    if unused:
        raise DatasetError(f"{min(unused)}: a mask without its picture; add the picture or remove the mask")
    if not found:
        raise DatasetError(f"{folder}: no pictures there; put in at least one picture with a same-name PNG mask")
    return tuple(found)


def _mask_of(picture: Path, masks: Sequence[Path]) -> Path:
    stems = (picture.stem, f"{picture.stem}_mask")
    fitting = [mask for mask in masks if mask.stem in stems and mask != picture]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DatasetError(f"{picture}: has {len(fitting)} masks ({fitting[0].name}, {fitting[1].name}); keep one")
    raise DatasetError(f"{picture}: has no mask; add {picture.stem}_mask.png, or remove the picture")


def _read_picture(path: Path) -> npt.NDArray[np.uint8]:
    try:
        return read_rgb(path)
    except VideoError as error:
        raise DatasetError(str(error)) from error


def _frame_number(video: Path, mask: Path) -> int | None:
    match = re.fullmatch(rf"{re.escape(video.stem)}_(\d{{1,9}})", mask.stem)
    return int(match.group(1)) if match else None


def _read_video(video: Path, masks: dict[int, Path]) -> list[SupportPicture]:
    if not masks:
        raise DatasetError(f"{video}: no frame of it has a mask; name one {video.stem}_<frame number>.png")
    found = []
    last = max(masks)
    with open_frames(video) as frames:
        for frame in frames:
            if frame.index in masks:
                mask = masks[frame.index]
                found.append(SupportPicture(f"{video}, frame {frame.index}", frame.rgb, read_mask(mask)))
            if frame.index >= last:
                break
    if len(found) < len(masks):
        raise DatasetError(f"{masks[last]}: {video.name} has no frame {last}; frames count from 0")
    return found


def _read_coco(path: Path, beside: Sequence[Path] = ()) -> SupportSet:
    """Every marked image of the file; exports list unmarked pictures too, which are passed over and told."""
    dataset = read_coco(path)
    classes: dict[str, list[SupportPicture]] = {}
    unmarked: list[str] = []
    listed = {dataset.path_of(image).resolve() for image in dataset.images}
    unmarked += [picture.name for picture in beside if picture.resolve() not in listed]
    for image in dataset.images:
        annotations = dataset.annotations_of[image.id]
        if not annotations:
            unmarked.append(image.file_name)
            continue
        rgb = dataset.read(image)
        for category in sorted({annotation.category_id for annotation in annotations}):
            masks = [annotation.mask for annotation in annotations if annotation.category_id == category]
            name = dataset.categories[category]
            where = f"{path}: image {image.id} ({image.file_name}), class {name}"
            classes.setdefault(name, []).append(SupportPicture(where, rgb, rle.decode(rle.union(masks))))
    if not classes:
        raise DatasetError(f"{path}: none of its {len(dataset.images)} pictures is marked; annotate at least one")
    if unmarked:
        first = ", ".join(unmarked[:3])
        _log.warning("%s: %d pictures without annotations are no support (%s)", path, len(unmarked), first)
    negatives = tuple(classes.pop(NEGATIVE_FOLDER, ()))
    return SupportSet({name: tuple(pictures) for name, pictures in classes.items()}, negatives)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}" if len(shape) >= 2 else str(list(shape))
