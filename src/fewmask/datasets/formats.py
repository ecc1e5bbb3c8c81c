"""The dataset formats by name, and how a file or folder is recognised."""

from pathlib import Path
from typing import Literal, get_args

from fewmask.datasets import json_file
from fewmask.errors import DatasetError

Format = Literal["ytvis", "coco", "davis", "vspw", "folders", "labelme"]
FORMATS: tuple[Format, ...] = get_args(Format)


def detect_format(path: str | Path) -> Format:
    """What is at ``path``.

    A JSON file is "ytvis" (also OVIS), "coco" or "labelme" by its keys. A folder is "vspw", "davis", "folders" or
    "labelme" by what lies in it.

    Raises:
        DatasetError: nothing is there, or nothing that is known.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise DatasetError(f"{path}: nothing is there")
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


def _folder(path: Path) -> Format:
    if any((path / name).is_dir() for name in ("JPEGImages", "Annotations", "Annotations_unsupervised")):
        return "davis"
    if any((path / "data").glob("*/origin")):
        return "vspw"
    if (path / "images").is_dir() and (path / "masks").is_dir():
        return "folders"
    if any(path.rglob("*.json")):
        return "labelme"
    raise DatasetError(
        f"{path}: not recognised; expected JPEGImages and Annotations (DAVIS), data/<video>/origin (VSPW), "
        "images and masks, or labelme files"
    )
