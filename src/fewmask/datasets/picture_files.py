"""The pictures that an annotation file is about: what training on it depends on beside the file itself."""

from pathlib import Path, PurePosixPath

from fewmask.datasets.coco_pictures import annotation_file, pictures_of
from fewmask.datasets.json_file import load_object


def picture_files(data: Path, images: Path | None = None) -> list[Path]:
    """Every picture that a COCO or YouTube-VIS file names and that is there, each once, in the file's order.

    Args:
        data: the file, or a folder with one.
        images: folder that its names are relative to; by default the one its reader takes.

    Raises:
        DatasetError: the file is no JSON object, or a name leads outside the folder.
    """
    data = annotation_file(data)
    document = load_object(data)
    if "videos" in document:
        root: Path | None = images or data.parent / "JPEGImages"
        named = [name for entry in _dicts(document["videos"]) for name in _list(entry.get("file_names"))]
    else:
        root = images
        named = [entry.get("file_name") for entry in _dicts(document.get("images"))]
    inside = [name for name in named if isinstance(name, str) and ".." not in PurePosixPath(name).parts]
    pictures = pictures_of(data, inside, root)
    return [path for name in dict.fromkeys(inside) if (path := pictures.path_of(name, str(data))).is_file()]


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _dicts(value: object) -> list[dict[str, object]]:
    return [entry for entry in _list(value) if isinstance(entry, dict)]
