"""Where the pictures of a COCO file lie, however the tool that wrote it lays out its folders.

    result.json, images/...                              Label Studio; names count from the JSON file or images/
    annotations/instances_default.json, images/...       CVAT, also images/default/
    annotations/instances_train.json, images/train/...   Datumaro
    annotations/instances_val2017.json, val2017/...      COCO as published, also images/val2017/
    labels.json, data/...                                FiftyOne
    train/_annotations.coco.json, train/...              Roboflow, VIA and others: pictures beside the JSON file

The folder is chosen once for a file: the first of these in which most of its pictures are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from fewmask.datasets.json_file import path_inside
from fewmask.errors import DatasetError
from fewmask.media.file_kinds import files_in

_ANNOTATION_FOLDERS = frozenset({"annotations", "annotation", "anns", "ann", "annots", "labels", "json"})
_PREFIX = re.compile(r"^(?:instances?|person_keypoints|keypoints|annotations?|labels?|coco|image_info|stuff)[_.-]+")
_SUFFIX = re.compile(r"[_.-]+(?:coco|annotations?|labels?|instances?|segm(?:entation)?)$")
_LOOKED_FOR = 24  # pictures, evenly spread over the file


@dataclass(frozen=True)
class CocoPictures:
    """The pictures of one file: ``root`` is the folder they lie in, ``names`` the file names of all."""

    root: Path
    names: Sequence[str]

    def path_of(self, name: str, where: str) -> Path:
        """The file of that name in or below ``root``.

        Tools differ in what they write: names with backslashes or percent signs, or the address a picture was fetched
        from. Where no file is at the name as it stands, the last part of it counts, if only one picture ends so.

        Raises:
            DatasetError: the name or a link leads outside ``root``.
        """
        exact = path_inside(self.root, name, where)
        if exact.is_file():
            return exact
        for other in dict.fromkeys((name.replace("\\", "/"), unquote(name.replace("\\", "/")), _last(name))):
            if other in ("", name) or (other == _last(name) and self._ends[other] > 1):
                continue
            try:
                path = path_inside(self.root, other, where)
            except DatasetError:  # a name that only unquoting makes dangerous
                continue
            if path.is_file():
                return path
        return exact

    @cached_property
    def _ends(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for name in self.names:
            counts[_last(name)] = counts.get(_last(name), 0) + 1
        return counts


def pictures_of(path: Path, names: Sequence[str], images: str | Path | None = None) -> CocoPictures:
    """Where the pictures of the COCO file at ``path`` lie.

    Args:
        path: the JSON file.
        names: its file names.
        images: the folder as the user says; None looks where the tools put it.
    """
    if images is not None:
        return CocoPictures(Path(images), names)
    step = max(1, len(names) // _LOOKED_FOR)
    some = names[::step][:_LOOKED_FOR]
    best, most = None, 0
    for root in _places(path):
        pictures = CocoPictures(root, names)
        found = sum(_is_there(pictures, name) for name in some)
        if found > most:
            best, most = pictures, found
    beside = path.parent / "images"
    return best or CocoPictures(beside if beside.is_dir() else path.parent, names)


def annotation_files(folder: Path) -> list[Path]:
    """The JSON files in a folder, or else in its sub-folder ``annotations``, as CVAT, Datumaro and COCO have it."""
    below = folder / "annotations"
    return files_in(folder, {".json"}) or (files_in(below, {".json"}) if below.is_dir() else [])


def annotation_file(path: Path) -> Path:
    """``path`` itself, or of a folder the one JSON file that `annotation_files` finds.

    Raises:
        DatasetError: the folder holds none, or several.
    """
    if not path.is_dir():
        return path
    found = annotation_files(path)
    if len(found) == 1:
        return found[0]
    if found:
        raise DatasetError(f"{path}: {len(found)} JSON files ({found[0].name}, {found[1].name}, ...); give one of them")
    raise DatasetError(f"{path}: a folder without a JSON file of annotations; give that file")


def _is_there(pictures: CocoPictures, name: str) -> bool:
    try:
        return pictures.path_of(name, "").is_file()
    except (DatasetError, OSError, ValueError):
        return False


def _places(path: Path) -> list[Path]:
    folder = path.parent
    splits = list(dict.fromkeys(_splits(path.stem)))
    tops = [folder]
    if folder.name.lower() in _ANNOTATION_FOLDERS:
        tops.insert(0, folder.parent)
    inside = ["images", ".", "data", "JPEGImages", "imgs", "img", "train", "default", *splits]
    inside += [f"images/{split}" for split in (*splits, "default")] + [f"data/{split}" for split in splits]
    places = [top / name for name in inside for top in tops]
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def _splits(stem: str) -> list[str]:
    """Names that the folder of pictures may have beside a file of this name: instances_val2017 -> val2017."""
    shorter = _PREFIX.sub("", stem)
    return [name for name in (stem, shorter, _SUFFIX.sub("", stem), _SUFFIX.sub("", shorter)) if name]


def _last(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/").partition("?")[0]).name
