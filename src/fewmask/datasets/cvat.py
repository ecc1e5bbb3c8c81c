"""CVAT's own files, "CVAT for video 1.1" and "CVAT for images 1.1", as the dataset that they are after correction.

Polygons, masks, boxes and ellipses are read; points, lines, cuboids and skeletons cover no pixels and are refused by
name. An object's track id is the attribute ``track_id`` of its shapes, as `fewmask.exports.cvat` writes it, since CVAT
numbers tracks anew; in a file without that attribute it is the ``id`` of the track.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np

from fewmask.datasets import json_file, segmentation
from fewmask.datasets.coco import CocoDataset
from fewmask.datasets.drawn import DrawnObject, DrawnPicture, drawn_dataset
from fewmask.datasets.pictures import image_file_size
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.frame_names import frame_name
from fewmask.media.rle import Rle

Element = ElementTree.Element
_SHAPES = ("polygon", "mask", "box", "ellipse")
_NO_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")
_ELLIPSE_POINTS = 72
_LONGEST = 10**7  # frames


def read_cvat(path: str | Path, images_root: Path | None = None) -> tuple[CocoDataset, list[str]]:
    """A CVAT XML file as pictures with objects, and what had to be decided, in words.

    Args:
        path: the file.
        images_root: folder that the pictures' names are relative to; by default the folder ``images`` beside the file
            where there is one, else the file's own. Frames of a video are NAME/00000.jpg, ... in it.

    Raises:
        DatasetError: not such a file, or a shape is malformed; the message names the track or picture.
    """
    path = Path(path)
    root = _parsed(path)
    size, labels, name = _head(root, path)
    beside = path.parent / "images"
    folder = images_root or (beside if beside.is_dir() else path.parent)
    # A video in which nothing was found, or all was deleted, has no track.
    video = root.find("track") is not None or (size is not None and root.find("image") is None)
    pictures = _video(root, size, name, path) if video else list(_images(root, name, path, folder))
    used = {found.label for picture in pictures for found in picture.objects}
    labels += sorted(used - set(labels))
    return drawn_dataset(pictures, labels, folder, path, is_video=video)


def _parsed(path: Path) -> Element:
    try:
        if path.stat().st_size > json_file.MAX_BYTES:
            raise DatasetError(f"{path}: is larger than {json_file.MAX_BYTES >> 30} GiB")
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError(f"{path}: not valid XML ({error}); export it from CVAT again") from error
    if root.tag != "annotations":
        raise DatasetError(f"{path}: not a CVAT file, its outermost element is <{root.tag[:40]}>")
    if root.findtext("version", "1.1") != "1.1":
        raise DatasetError(f"{path}: CVAT format {root.findtext('version')!a}, only 1.1 is read")
    return root


def _head(root: Element, path: Path) -> tuple[tuple[int, int] | None, list[str], str]:
    """Frame size where stated, the labels in their order, and the name of the video."""
    meta = root.find("meta")
    labels: list[str] = []
    if meta is None:
        return None, labels, path.stem
    for label in meta.iter("label"):
        text = label.findtext("name")
        if text and text not in labels:
            labels.append(text)
    stated = next(meta.iter("original_size"), None)
    size = None
    if stated is not None:
        size = json_file.image_size(
            {side: _number(stated.findtext(side), f"{path}: original_size") for side in ("height", "width")},
            f"{path}: original_size",
        )
    source = next(meta.iter("source"), None)
    name = source.text if source is not None and source.text else None
    name = PurePosixPath(name.replace("\\", "/")).stem if name else None
    task = next((element for kind in ("task", "job", "project") for element in meta.iter(kind)), None)
    if not name and task is not None:
        name = task.findtext("name")
    return size, labels, (name or path.stem).replace("/", "_")


def _video(root: Element, size: tuple[int, int] | None, name: str, path: Path) -> list[DrawnPicture]:
    """One picture per frame that the task has."""
    if size is None:
        raise DatasetError(f"{path}: meta has no original_size; export it from CVAT as 'CVAT for video 1.1'")
    tracks = root.findall("track")
    if len({track.get("task_id") for track in tracks}) > 1:
        raise DatasetError(f"{path}: holds several tasks, whose frames it does not tell apart; export each task")
    own_ids = any(_attribute(shape) is not None for track in tracks for shape in track)
    pictures = {frame: DrawnPicture(frame_name(name, frame), size, frame) for frame in _frames(root, path)}
    for track in tracks:
        label, where = track.get("label") or "", f"{path}: track {track.get('id')}"
        if not label:
            raise DatasetError(f"{where}: has no label")
        identity = _track_id(track, own_ids=own_ids, where=where)
        for frame, mask in _track_masks(track, size, where):
            if frame not in pictures:
                raise DatasetError(f"{where}: frame {frame} is not among the task's frames")
            pictures[frame].objects.append(DrawnObject(label, [mask], identity))
    return [pictures[frame] for frame in sorted(pictures)]


def _frames(root: Element, path: Path) -> range:
    meta = root.find("meta")
    texts: Mapping[str, str | None] = {
        key: None if meta is None else next((e.text for e in meta.iter(key)), None)
        for key in ("size", "start_frame", "stop_frame", "frame_filter")
    }
    first = _number(texts["start_frame"] or "0", f"{path}: start_frame")
    filtered = texts["frame_filter"] or ""
    step = _number(filtered.partition("=")[2], f"{path}: frame_filter") if filtered.startswith("step=") else 1
    if texts["stop_frame"]:
        last = _number(texts["stop_frame"], f"{path}: stop_frame")
        if texts["size"] and last == first + _number(texts["size"], f"{path}: size") * step:
            # Datumaro's stop_frame is the number of frames, one too many; unless a shape is there.
            last = max(
                [
                    last - step,
                    *(_number(shape.get("frame"), f"{path}: frame") for shape in root.iter() if shape.get("frame")),
                ]
            )
    else:
        last = first + (_number(texts["size"], f"{path}: size") - 1) * step
    if step < 1 or last - first > _LONGEST:
        raise DatasetError(f"{path}: meta says frames {first} to {last} in steps of {step}, which cannot be")
    return range(first, last + 1, step)


def _track_id(track: Element, *, own_ids: bool, where: str) -> int | None:
    """What the shapes say, else the track's own number if no shape of the file says anything."""
    if not own_ids:
        return _number(track.get("id"), f"{where}: id")
    said = {value for shape in track if (value := _attribute(shape))}
    if len(said) > 1:
        raise DatasetError(f"{where}: its shapes have the track ids {sorted(said)}; give all of them one")
    return said.pop() if said else None


def _attribute(shape: Element) -> int | None:
    """The attribute ``track_id``; 0 is none."""
    for attribute in shape.iter("attribute"):
        if attribute.get("name") == "track_id" and attribute.text and attribute.text.strip().isdecimal():
            return int(attribute.text)
    return None


def _track_masks(track: Element, size: tuple[int, int], where: str) -> Iterator[tuple[int, Rle]]:
    """The frames in which a track is there; CVAT lists every frame, those that it interpolated too."""
    before: int | None = None
    for shape in track:
        if shape.tag == "attribute":
            continue
        frame = _number(shape.get("frame"), f"{where}: frame")
        if before is not None and frame <= before:
            raise DatasetError(f"{where}: frame {frame} comes after frame {before}")
        before = frame
        mask = _mask(shape, size, f"{where}, frame {frame}")
        if shape.get("outside") != "1" and rle.area(mask):
            yield frame, mask


def _images(root: Element, name: str, path: Path, folder: Path) -> Iterator[DrawnPicture]:
    for image in root.findall("image"):
        stated = image.get("name") or ""
        where = f"{path}: image {stated[:80]!a}"
        number = _number(image.get("id"), f"{where}: id")
        size = _picture_size(image, folder / json_file.relative_name(stated, where), where)
        if stated.startswith("frame_") and stated[6:12].isdecimal():  # how CVAT calls the frames of a video
            stated = frame_name(name, int(stated[6:12]))
        picture = DrawnPicture(json_file.relative_name(stated, where), size, number)
        groups: dict[tuple[str, int], DrawnObject] = {}
        for index, shape in enumerate(image):
            place = f"{where}: shape {index + 1} ({shape.get('label')})"
            if shape.tag == "tag":
                continue
            label = shape.get("label") or ""
            if not label:
                raise DatasetError(f"{place}: has no label")
            found = DrawnObject(label, [_mask(shape, size, place)], _attribute(shape) or None)
            key = _part_of(shape, found)
            if key is not None and key in groups:
                groups[key].parts += found.parts
                continue
            if key is not None:
                groups[key] = found
            picture.objects.append(found)
        yield picture


def _picture_size(image: Element, picture: Path, where: str) -> tuple[int, int]:
    """What the file says; where it says nothing, as of Datumaro without pictures, what the picture is."""
    sides = {side: image.get(side) for side in ("height", "width")}
    if any(sides.values()):
        return json_file.image_size({side: _number(text, f"{where}: {side}") for side, text in sides.items()}, where)
    if not picture.is_file():
        raise DatasetError(
            f"{where}: states no width and height, and {picture} is not there to tell; give --frames-root"
        )
    height, width = image_file_size(picture)
    return json_file.image_size({"height": height, "width": width}, where)


def _part_of(shape: Element, found: DrawnObject) -> tuple[str, int] | None:
    """What shapes of one object have in common: track id, or CVAT's group."""
    if found.track is not None:
        return f"track {found.label}", found.track
    group = shape.get("group_id")
    return (f"group {found.label}", int(group)) if group and group.isdecimal() and int(group) else None


def _mask(shape: Element, size: tuple[int, int], where: str) -> Rle:
    if shape.tag not in _SHAPES:
        kind = "covers no pixels" if shape.tag in _NO_AREA else "is not a known shape"
        raise DatasetError(f"{where}: <{shape.tag[:40]}> {kind}; draw a polygon or a mask")
    if shape.tag == "mask":
        return _bitmap(shape, size, where)
    if shape.tag == "polygon":
        flat = [_float(value, where) for pair in (shape.get("points") or "").split(";") for value in pair.split(",")]
    elif shape.tag == "box":
        left, top, right, bottom = (_float(shape.get(key), where) for key in ("xtl", "ytl", "xbr", "ybr"))
        flat = _turned([(left, top), (right, top), (right, bottom), (left, bottom)], shape, where)
    else:
        x, y, across, down = (_float(shape.get(key), where) for key in ("cx", "cy", "rx", "ry"))
        turns = [2 * math.pi * number / _ELLIPSE_POINTS for number in range(_ELLIPSE_POINTS)]
        flat = _turned([(x + across * math.cos(turn), y + down * math.sin(turn)) for turn in turns], shape, where)
    return segmentation.checked_rle([flat], *size, where)


def _turned(points: list[tuple[float, float]], shape: Element, where: str) -> list[float]:
    """The points turned about their middle by the shape's rotation in degrees, as a flat list."""
    angle = math.radians(_float(shape.get("rotation") or "0", where))
    x = sum(point[0] for point in points) / len(points)
    y = sum(point[1] for point in points) / len(points)
    cos, sin = math.cos(angle), math.sin(angle)
    return [
        value
        for px, py in points
        for value in (x + (px - x) * cos - (py - y) * sin, y + (px - x) * sin + (py - y) * cos)
    ]


def _bitmap(shape: Element, size: tuple[int, int], where: str) -> Rle:
    """A mask shape: run lengths row by row in a box, what is outside first."""
    left, top, width, height = (_number(shape.get(key), where) for key in ("left", "top", "width", "height"))
    runs = [_number(value, where) for value in (shape.get("rle") or "").split(",")]
    if left + width > size[1] or top + height > size[0]:
        raise DatasetError(f"{where}: the mask leaves the picture of {size[0]}x{size[1]}")
    if sum(runs) != width * height:
        raise DatasetError(f"{where}: the runs of the mask cover {sum(runs)} pixels, its box has {width * height}")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask = np.zeros(size, dtype=bool)
    mask[top : top + height, left : left + width] = inside.reshape(height, width)
    return rle.encode(mask)


def _number(text: str | None, where: str) -> int:
    stripped = (text or "").strip()
    if not (stripped.isdecimal() and len(stripped) < 16):
        raise DatasetError(f"{where}: {stripped[:40]!a} is not a whole number from 0")
    return int(stripped)


def _float(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError as error:
        raise DatasetError(f"{where}: {(text or '')[:40]!a} is not a number") from error
    if not math.isfinite(value):
        raise DatasetError(f"{where}: {text} is not a finite number")
    return value
