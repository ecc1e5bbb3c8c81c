"""labelme JSON files, one per picture, as one COCO dataset.

Polygons, rectangles (two corners, or four as X-AnyLabeling saves them), rotated boxes, circles, ellipses and masks are
read; points and lines cover no pixels and are refused. Shapes of one
label with one ``group_id`` are parts of one object; and the same group in several pictures of a folder is the same
object there, so that a folder of consecutive frames becomes a video of tracks. The picture that a file may carry
(``imageData``) is never decoded.
"""

import base64
import binascii
import math
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from fewmask.datasets import json_file, segmentation
from fewmask.datasets.coco import CocoAnnotation, CocoDataset, CocoImage, annotation_of
from fewmask.datasets.mask_pictures import read_label_map
from fewmask.datasets.pictures import image_file_size
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.file_kinds import files_below
from fewmask.media.rle import Rle

_OUTLINES = frozenset({"polygon", "rotation", "quadrilateral", "oriented_rectangle", "ai_polygon"})
_RECTANGLES = frozenset({"rectangle", "box", "square"})
_ROUND = frozenset({"circle", "ellipse"})
_ARC_ERROR = 0.1  # pixels that the polygon of a circle may lie inside it


def read_labelme(root: str | Path, *, max_bytes: int = json_file.MAX_BYTES) -> CocoDataset:
    """Read every labelme file in a folder and the folders below it, or a single file.

    Categories are the labels in alphabetical order, from 1 on. Pictures of a folder in which shapes are grouped get
    ``video_id`` and ``frame_id``, grouped shapes ``instance_id``.

    Raises:
        DatasetError: a file or shape is malformed; the message names the file and the shape's index and label.
    """
    root = Path(root)
    paths = [root] if root.is_file() else files_below(root, {".json"})
    base = root.parent if root.is_file() else root
    if not paths:
        raise DatasetError(f"{root}: no labelme files (*.json) there")
    pictures = [_picture(path, base, max_bytes) for path in paths]
    names = [picture.file_name for picture in pictures]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DatasetError(f"{root}: two files describe the picture {twice!a}")
    labels = sorted({found.label for picture in pictures for found in picture.objects})
    ids = {label: number for number, label in enumerate(labels, start=1)}
    images, annotations = _entries(pictures, ids)
    return CocoDataset(images, annotations, {number: label for label, number in ids.items()}, base, path=root)


@dataclass
class _Object:
    """The parts of one object in one picture."""

    label: str
    group: int | None
    polygons: list[list[float]] = field(default_factory=list)
    masks: list[Rle] = field(default_factory=list)


@dataclass(frozen=True)
class _Picture:
    path: Path
    file_name: str
    size: tuple[int, int]
    objects: tuple[_Object, ...]

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.file_name)


def _picture(path: Path, base: Path, max_bytes: int) -> _Picture:
    where = str(path)
    document = json_file.load_object(path, max_bytes=max_bytes)
    shapes = json_file.entries(document, "shapes", where)
    stated = json_file.field(document, "imagePath", str, where).replace("\\", "/")
    folder = path.parent.relative_to(base).as_posix()
    if stated.startswith("/") or PureWindowsPath(stated).drive:
        raise DatasetError(f"{where}: imagePath {stated!a} is absolute; save it relative to the file")
    file_name = json_file.relative_name(posixpath.normpath(posixpath.join(folder, stated)), f"{where}: imagePath")
    if document.get("imageHeight") is None or document.get("imageWidth") is None:
        size = image_file_size(json_file.path_inside(base, file_name, where))
    else:
        sides = {"height": document["imageHeight"], "width": document["imageWidth"]}
        size = json_file.image_size(sides, f"{where}: image")
    return _Picture(path, file_name, size, tuple(_objects(shapes, size, where)))


def _objects(shapes: Iterable[Mapping[str, Any]], size: tuple[int, int], where: str) -> Iterable[_Object]:
    """The objects of a picture; shapes of one label and group are one."""
    groups: dict[tuple[str, int], _Object] = {}
    for index, shape in enumerate(shapes):
        label = json_file.field(shape, "label", str, f"{where}: shapes[{index}]")
        place = f"{where}: shapes[{index}] ({label[:40]!a})"
        group = None if shape.get("group_id") is None else json_file.integer(shape, "group_id", place, low=-(2**53))
        found = _Object(label, group) if group is None else groups.setdefault((label, group), _Object(label, group))
        if shape.get("shape_type") == "mask":
            found.masks.append(_bitmap(shape, size, place))
        else:
            polygon = _polygon(shape, place)
            segmentation.check_form([polygon], *size, place)
            found.polygons.append(polygon)
        if group is None:
            yield found
    yield from groups.values()


def _polygon(shape: Mapping[str, Any], where: str) -> list[float]:
    """[x0, y0, x1, y1, ...] of a shape that covers pixels."""
    points = _points(shape, where)
    kind = str(shape.get("shape_type") or "polygon").lower()
    if kind in _OUTLINES or (kind in _RECTANGLES and len(points) == 4):
        return [value for point in points for value in point]
    if kind not in _RECTANGLES | _ROUND:
        raise DatasetError(f"{where}: a shape of type {kind[:40]!a} covers no pixels; draw a polygon or remove it")
    if len(points) != 2:
        told = "two or four points" if kind in _RECTANGLES else "two points"
        raise DatasetError(f"{where}: a {kind} has {told}, this one has {len(points)}")
    (x, y), (other_x, other_y) = points
    if kind in _RECTANGLES:
        return [x, y, other_x, y, other_x, other_y, x, other_y]
    if kind == "ellipse":  # its points are corners of the box around it
        return _round((x + other_x) / 2, (y + other_y) / 2, abs(other_x - x) / 2, abs(other_y - y) / 2, where)
    radius = math.hypot(other_x - x, other_y - y)  # the second point lies on the circle
    return _round(x, y, radius, radius, where)


def _round(x: float, y: float, across: float, down: float, where: str) -> list[float]:
    radius = max(across, down)
    if radius > json_file.MAX_SIDE:
        raise DatasetError(f"{where}: a circle of radius {radius:.0f} is larger than any picture")
    corners = max(12, math.ceil(math.pi / math.acos(1 - _ARC_ERROR / radius))) if radius > _ARC_ERROR else 12
    angles = [2 * math.pi * corner / corners for corner in range(corners)]
    return [value for a in angles for value in (x + across * math.cos(a), y + down * math.sin(a))]


def _points(shape: Mapping[str, Any], where: str) -> list[tuple[float, float]]:
    points = []
    for point in json_file.field(shape, "points", list, where):
        if not isinstance(point, list) or len(point) != 2 or not json_file.all_numbers(point):
            raise DatasetError(f"{where}: a point must be [x, y]")
        points.append((point[0], point[1]))
    return points


def _bitmap(shape: Mapping[str, Any], size: tuple[int, int], where: str) -> Rle:
    """The mask of a shape that carries a small PNG, placed with its corner at the first point."""
    points = _points(shape, where)
    try:
        data = base64.b64decode(json_file.field(shape, "mask", str, where), validate=True)
    except binascii.Error as error:
        raise DatasetError(f"{where}: 'mask' is not base64") from error
    patch = read_label_map(Path(f"{where}: mask"), data=data)
    inside = np.zeros(size, dtype=bool)
    x, y = (round(value) for value in points[0]) if points else (-1, -1)
    height, width = patch.shape
    if x < 0 or y < 0 or y + height > size[0] or x + width > size[1]:
        raise DatasetError(f"{where}: its mask does not lie within the picture")
    inside[y : y + height, x : x + width] = patch > 0
    return rle.encode(inside)


def _entries(
    pictures: list[_Picture], ids: Mapping[str, int]
) -> tuple[tuple[CocoImage, ...], tuple[CocoAnnotation, ...]]:
    folders = list(dict.fromkeys(p.folder for p in pictures if any(o.group is not None for o in p.objects)))
    frames = dict.fromkeys(folders, 0)
    tracks: dict[tuple[str, str, int], int] = {}
    images: list[CocoImage] = []
    annotations: list[CocoAnnotation] = []
    for picture in pictures:
        extra: dict[str, Any] = {}
        if picture.folder in frames:
            extra = {"video_id": folders.index(picture.folder) + 1, "frame_id": frames[picture.folder]}
            frames[picture.folder] += 1
        image = CocoImage(len(images) + 1, picture.file_name, *picture.size, extra)
        images.append(image)
        for found in picture.objects:
            instance = {}
            if found.group is not None:
                key = (picture.folder, found.label, found.group)
                instance = {"instance_id": tracks.setdefault(key, len(tracks) + 1)}
            entry = _annotation(found, picture, len(annotations) + 1)
            annotations.append(replace(entry, image_id=image.id, category_id=ids[found.label], extra=instance))
    return tuple(images), tuple(annotations)


def _annotation(found: _Object, picture: _Picture, identity: int) -> CocoAnnotation:
    """Polygons stay polygons; where a part is a bitmap the whole becomes one."""
    masks = list(found.masks)
    if found.polygons:
        masks.append(segmentation.to_rle(found.polygons, *picture.size, str(picture.path)))
    mask = masks[0] if len(masks) == 1 else rle.union(masks)
    entry = annotation_of(mask, annotation_id=identity, image_id=0, category_id=0)
    return entry if found.masks else replace(entry, segmentation=found.polygons)
