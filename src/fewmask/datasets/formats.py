"""The dataset formats by name, and how a file or folder is recognised."""

from pathlib import Path
from typing import Literal, get_args

from fewmask.datasets import json_file
from fewmask.datasets.coco_pictures import annotation_file
from fewmask.errors import DatasetError
from fewmask.media.file_kinds import files_below

Format = Literal["ytvis", "coco", "davis", "vspw", "folders", "labelme", "cvat", "label-studio"]
FORMATS: tuple[Format, ...] = get_args(Format)


def locate(path: str | Path, given: Format | None = None) -> tuple[Path, Format]:
    """Where a dataset lies and what it is: for a folder that an annotation tool exported, its one JSON file.

    Args:
        path: file or folder.
        given: what the user says it is; None recognises it.

    Raises:
        DatasetError: nothing is there, or nothing that is known.
    """
    path = Path(path)
    kind = given or detect_format(path)
    return (annotation_file(path) if kind in ("coco", "ytvis") else path), kind


def detect_format(path: str | Path) -> Format:
    """What is at ``path``.

    An XML file is "cvat". A JSON file is "label-studio" if it is a list of tasks, else "ytvis" (also OVIS), "coco" or
    "labelme" by its keys. A folder is "vspw", "davis", "folders" or "labelme" by what lies in it.

    Raises:
        DatasetError: nothing is there, or nothing that is known.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise DatasetError(f"{path}: nothing is there")
    if path.suffix.lower() == ".xml":
        return "cvat"
    if _is_task_list(path):
        return "label-studio"
    document = json_file.load_object(path)
    if "shapes" in document:
        return "labelme"
    if "images" in document:
        return "coco"
    if "videos" in document:
        return "ytvis"
    raise DatasetError(
        f"{path}: neither 'videos' nor 'images' nor 'shapes' is among its keys; say what it is with --from"
    )


def _is_task_list(path: Path) -> bool:
    """Whether a JSON file begins like a list of Label Studio's tasks, and not of results."""
    try:
        with path.open("rb") as handle:
            head = handle.read(1 << 20)
    except OSError:
        return False
    text = head.decode("utf-8-sig", errors="ignore").lstrip()
    told = any(f'"{key}"' in text for key in ("data", "annotations", "predictions"))
    return text.startswith("[") and told and '"segmentations"' not in text


def _folder(path: Path) -> Format:
    if any((path / name).is_dir() for name in ("JPEGImages", "Annotations", "Annotations_unsupervised")):
        return "davis"
    if any((path / "data").glob("*/origin")):
        return "vspw"
    if (path / "images").is_dir() and (path / "masks").is_dir():
        return "folders"
    files = files_below(path, {".json"})
    if len(files) > 1 or (files and detect_format(files[0]) == "labelme"):
        return "labelme"
    if files:
        return detect_format(files[0])
    raise DatasetError(
        f"{path}: not recognised; expected JPEGImages and Annotations (DAVIS), data/<video>/origin (VSPW), "
        "images and masks, or labelme files"
    )
