"""Label Studio's JSON export of image tasks, as the dataset that it is after correction.

Brush strokes (RLE), polygons, rectangles and ellipses are read. What track an object belongs to says its region's id
"track-N", or, for one drawn anew, the text "track N" in its meta information; others are new objects.

A task counts as a person left it: its last annotation that was not cancelled. If no task has any annotation, the file
is one of predictions, and these are taken. Otherwise tasks without an annotation are left out: nobody looked at them.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fewmask.datasets import json_file, segmentation
from fewmask.datasets.coco import CocoDataset
from fewmask.datasets.drawn import DrawnObject, DrawnPicture, drawn_dataset
from fewmask.datasets.json_records import iterate_json_list
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.brush_rle import decode_brush
from fewmask.media.rle import Rle

Record = dict[str, Any]
_TRACK = re.compile(r"\s*track[- ](\d{1,9})\s*", re.IGNORECASE)
_KINDS = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels")
_ELLIPSE_POINTS = 72


def read_label_studio(path: str | Path, images_root: Path | None = None) -> tuple[CocoDataset, list[str]]:
    """An export as pictures with objects, and what had to be decided, in words.

    Args:
        path: the JSON file.
        images_root: folder that the pictures' names are relative to; by default the folder ``images`` beside the file
            where there is one, else the file's own.

    Raises:
        DatasetError: not such a file, or a region is malformed; the message names the task and region.
    """
    path = Path(path)
    tasks = [
        (task, f"{path}: task {task.get('id', index)}") for index, task in enumerate(iterate_json_list(path), start=1)
    ]
    people = [_annotation(task, where) for task, where in tasks]
    reviewed = any(found is not None for found in people)
    pictures: list[DrawnPicture] = []
    for (task, where), found in zip(tasks, people, strict=True):
        regions = found if reviewed else _prediction(task, where)
        if regions is not None:
            pictures.append(_picture(task, regions, where))
    labels = sorted({found.label for picture in pictures for found in picture.objects})
    beside = path.parent / "images"
    root = images_root or (beside if beside.is_dir() else path.parent)
    video = all(picture.frame is not None for picture in pictures)
    dataset, notes = drawn_dataset(pictures, labels, root, path, is_video=video)
    if not reviewed:
        notes.insert(0, "no task has an annotation; these are predictions that nobody has looked at")
    elif len(pictures) < len(tasks):
        notes.insert(0, f"{len(tasks) - len(pictures)} of {len(tasks)} tasks have no annotation and were left out")
    return dataset, notes


def _annotation(task: Record, where: str) -> list[Record] | None:
    """The regions that a person left; None where nobody did anything."""
    if "data" not in task:
        raise DatasetError(f"{where}: has no 'data'; export the project as JSON, not JSON-MIN")
    done = [
        entry for entry in json_file.entries(task, "annotations", where) if not entry.get("was_cancelled")
    ] if task.get("annotations") else []  # fmt: skip
    return json_file.entries(done[-1], "result", f"{where}: annotation") if done else None


def _prediction(task: Record, where: str) -> list[Record] | None:
    found = task.get("predictions")
    if not isinstance(found, list) or not found or not isinstance(found[-1], dict):
        return None
    return json_file.entries(found[-1], "result", f"{where}: prediction")


def _picture(task: Record, regions: list[Record], where: str) -> DrawnPicture:
    data = json_file.field(task, "data", dict, where)
    sized = [region for region in regions if "original_width" in region]
    if "height" in data and "width" in data:
        stated: Record = data
    elif sized:
        stated = {"height": sized[0].get("original_height"), "width": sized[0]["original_width"]}
    else:
        raise DatasetError(f"{where}: nothing says how large its picture is; put width and height into its data")
    size = json_file.image_size(stated, where)
    frame = json_file.integer(data, "frame", f"{where}: data") if "frame" in data else None
    name = json_file.relative_name(_file_name(data, where), f"{where}: data")
    return DrawnPicture(name, size, frame, list(_objects(regions, size, where)))


def _file_name(data: Record, where: str) -> str:
    """Our own ``file_name``, else what is behind "images/" in the address of the picture, else its last two parts."""
    if isinstance(data.get("file_name"), str):
        return str(data["file_name"])
    address = next((value for key, value in data.items() if key in ("image", "img", "picture")), None)
    if not isinstance(address, str):
        raise DatasetError(f"{where}: its data has no 'image'")
    try:
        parts = urlsplit(address)
        local = parse_qs(parts.query).get("d")
    except ValueError as error:
        raise DatasetError(f"{where}: its 'image' is no address ({error})") from error
    place = local[0] if local else unquote(parts.path)
    pieces = [piece for piece in place.replace("\\", "/").split("/") if piece]
    if "images" in pieces[:-1]:
        return "/".join(pieces[pieces.index("images") + 1 :])
    return "/".join(pieces[-2:]) if local else pieces[-1] if pieces else ""


def _objects(regions: list[Record], size: tuple[int, int], where: str) -> Iterator[DrawnObject]:
    """The objects of a picture; strokes of one label and track are one object."""
    found: dict[tuple[str, int], DrawnObject] = {}
    for index, region in enumerate(regions):
        kind = region.get("type")
        if kind in ("relation", "choices", "textarea", "rating"):
            continue
        place = f"{where}: region {region.get('id', index)}"
        value = json_file.field(region, "value", dict, place)
        if kind not in _KINDS:
            raise DatasetError(f"{place}: of type {str(kind)[:40]!a}; brush, polygon, rectangle and ellipse are read")
        names = json_file.field(value, kind, list, place)
        if len(names) != 1 or not isinstance(names[0], str):
            raise DatasetError(f"{place}: needs one label")
        own = {"height": region.get("original_height", size[0]), "width": region.get("original_width", size[1])}
        if json_file.image_size(own, place) != size:
            raise DatasetError(f"{place}: was drawn on a picture of another size than {size[0]}x{size[1]}")
        if region.get("image_rotation", 0) or value.get("rotation", 0):
            raise DatasetError(f"{place}: is rotated; turn it back, or draw it with the brush")
        drawn = DrawnObject(names[0], [_mask(kind, value, size, place)], _track(region))
        if drawn.track is not None and (names[0], drawn.track) in found:
            found[names[0], drawn.track].parts += drawn.parts
            continue
        if drawn.track is not None:
            found[names[0], drawn.track] = drawn
        yield drawn


def _track(region: Record) -> int | None:
    meta = region.get("meta")
    texts = meta.get("text") if isinstance(meta, dict) else None
    # What a person wrote counts before the id, which nobody can change.
    for text in [*(texts if isinstance(texts, list) else [texts]), region.get("id")]:
        named = _TRACK.fullmatch(text) if isinstance(text, str) else None
        if named:
            return int(named[1])
    return None


def _mask(kind: str, value: Record, size: tuple[int, int], where: str) -> Rle:
    height, width = size
    if kind == "brushlabels":
        return rle.encode(decode_brush(json_file.field(value, "rle", list, where), height, width, where))
    if kind == "polygonlabels":
        points = json_file.field(value, "points", list, where)
        if not all(isinstance(point, list) and len(point) == 2 and json_file.all_numbers(point) for point in points):
            raise DatasetError(f"{where}: 'points' must be pairs of numbers")
    else:
        keys = ("x", "y", "width", "height") if kind == "rectanglelabels" else ("x", "y", "radiusX", "radiusY")
        x, y, across, down = (json_file.number(value, key, where) for key in keys)
        if kind == "rectanglelabels":
            points = [[x, y], [x + across, y], [x + across, y + down], [x, y + down]]
        else:
            turns = [2 * math.pi * number / _ELLIPSE_POINTS for number in range(_ELLIPSE_POINTS)]
            points = [[x + across * math.cos(turn), y + down * math.sin(turn)] for turn in turns]
    flat = [float(v) for px, py in points for v in (px * width / 100, py * height / 100)]
    return segmentation.checked_rle([flat], height, width, where)
