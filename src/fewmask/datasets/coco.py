"""COCO instance annotations: images, categories and one mask per annotation.

The file is checked whole when it is opened; polygons are rasterised only when an annotation's ``mask`` is asked for,
so that a file with 100,000 annotations opens in less than twice the time its JSON takes to parse.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fewmask.datasets import json_file, segmentation
from fewmask.datasets.coco_ids import Ids, category_names
from fewmask.datasets.coco_pictures import CocoPictures, annotation_file, pictures_of
from fewmask.datasets.pictures import read_picture
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.atomic import whole_file
from fewmask.media.frame_source import RgbImage
from fewmask.media.rle import Rle

_DATASET_KEYS = frozenset({"info", "images", "annotations", "categories"})
_IMAGE_KEYS = frozenset({"id", "file_name", "height", "width"})
_ANNOTATION_KEYS = frozenset({"id", "image_id", "category_id", "iscrowd", "segmentation", "bbox", "area"})


@dataclass(frozen=True)
class CocoImage:
    """One image; ``extra`` keeps every further field of the file (``all80``, ``license``, ...)."""

    id: int
    file_name: str
    height: int
    width: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CocoAnnotation:
    """One object in one image.

    ``segmentation`` is what the file holds: polygons ``[[x0, y0, ...], ...]`` or an RLE object. ``size`` is
    (height, width) of the image, ``bbox`` (x, y, width, height) and ``area`` are in pixels as the file states them.
    """

    id: int
    image_id: int
    category_id: int
    segmentation: Any
    size: tuple[int, int]
    iscrowd: bool = False
    bbox: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    area: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)
    source: str = field(default="COCO annotation", repr=False, compare=False)

    @cached_property
    def mask(self) -> Rle:
        """The mask; rasterised at the first access, as pycocotools does, and kept.

        Raises:
            DatasetError: a polygon's outline is too long to rasterise.
        """
        return segmentation.to_rle(self.segmentation, *self.size, f"{self.source}: annotation {self.id}")


_Entry = TypeVar("_Entry", CocoImage, CocoAnnotation)


@dataclass(frozen=True)
class CocoDataset:
    """What `read_coco` returns and `write_coco` takes; ``categories`` maps id to name.

    ``extra`` keeps every further list or object of the file (``licenses``, ``videos``, ...).
    """

    images: tuple[CocoImage, ...]
    annotations: tuple[CocoAnnotation, ...]
    categories: Mapping[int, str]
    images_root: Path
    info: Mapping[str, Any] = field(default_factory=dict)
    supercategories: Mapping[int, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False)
    """Where it was read from; named in error messages."""

    @cached_property
    def annotations_of(self) -> Mapping[int, Sequence[CocoAnnotation]]:
        """Image id -> its annotations in file order; every image is there, also one without objects."""
        groups: dict[int, list[CocoAnnotation]] = {image.id: [] for image in self.images}
        for annotation in self.annotations:
            groups[annotation.image_id].append(annotation)
        return groups

    def path_of(self, image: CocoImage) -> Path:
        """Where the picture of ``image`` lies, inside ``images_root``; see `CocoPictures.path_of`.

        Raises:
            DatasetError: a link leads outside ``images_root``.
        """
        return self._pictures.path_of(image.file_name, f"image {image.id}")

    def read(self, image: CocoImage) -> RgbImage:
        """The picture of ``image`` as it was marked, uint8 [H, W, 3].

        Raises:
            DatasetError: missing, unreadable, or of another size than the file says.
        """
        return read_picture(self.path_of(image), (image.height, image.width), f"image {image.id}")

    @cached_property
    def _pictures(self) -> CocoPictures:
        return CocoPictures(self.images_root, [image.file_name for image in self.images])


def read_coco(
    path: str | Path, images_root: str | Path | None = None, *, max_bytes: int = json_file.MAX_BYTES
) -> CocoDataset:
    """Read and check a COCO instances file.

    Args:
        path: the JSON file, or a folder with one, as annotation tools export it.
        images_root: folder that ``file_name`` is relative to; by default where the pictures are, in any of the layouts
            that annotation tools write (`fewmask.datasets.coco_pictures`).
        max_bytes: larger files are refused unread.

    Raises:
        DatasetError: malformed; the message names the file, the entry by index and id, and the key.
    """
    path = annotation_file(Path(path))
    document = json_file.load_object(path, max_bytes=max_bytes)
    name = str(path)
    ids = _FileIds(document)
    images = {image.id: image for image in _unique(_images(document, ids, name), f"{name}: images")}
    categories = category_names(document, name, ids.categories, _used(document, ids))
    annotations = tuple(_unique(_annotations(document, images, categories, ids, name), f"{name}: annotations"))
    compressed = [
        a for a in annotations if isinstance(a.segmentation, dict) and isinstance(a.segmentation["counts"], str)
    ]
    segmentation.check_counts(
        [annotation.segmentation["counts"] for annotation in compressed],
        [annotation.size[0] * annotation.size[1] for annotation in compressed],
        [f"{name}: annotation {annotation.id}" for annotation in compressed],
    )
    info = document.get("info")
    above = {ids.categories.number_of(entry["id"]): entry.get("supercategory") for entry in document["categories"]}
    return CocoDataset(
        images=tuple(images.values()),
        annotations=annotations,
        categories=categories,
        images_root=pictures_of(path, [image.file_name for image in images.values()], images_root).root,
        info=info if isinstance(info, dict) else {},
        supercategories={key: above[key] for key in categories if isinstance(above[key], str)},
        extra=_extra(document, _DATASET_KEYS),
        path=path,
    )


def write_coco(dataset: CocoDataset, path: str | Path) -> None:
    """Write ``dataset`` as a COCO instances file, whole or not at all; polygons stay polygons.

    Raises:
        DatasetError: a further field holds NaN or infinity.
        FewmaskError: the folder cannot be written.
    """
    head = {
        "info": dict(dataset.info),
        "images": [
            {"id": i.id, "file_name": i.file_name, "height": i.height, "width": i.width, **i.extra}
            for i in dataset.images
        ],
        "categories": [
            {"id": key, "name": name}
            | ({"supercategory": dataset.supercategories[key]} if key in dataset.supercategories else {})
            for key, name in dataset.categories.items()
        ],
        **dataset.extra,
    }
    with whole_file(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.write(_dumped(head, f"{path}: info, images or another list")[:-1] + ', "annotations": [')
        for index, annotation in enumerate(dataset.annotations):  # one by one, for they may be many
            handle.write(",\n" if index else "\n")
            handle.write(_dumped(_annotation_entry(annotation), f"{path}: annotation {annotation.id}"))
        handle.write("]}\n")


def annotation_of(
    mask: Rle, *, annotation_id: int, image_id: int, category_id: int, extra: Mapping[str, Any] | None = None
) -> CocoAnnotation:
    """An annotation whose box and area are those of ``mask``."""
    return CocoAnnotation(
        id=annotation_id,
        image_id=image_id,
        category_id=category_id,
        segmentation=mask,
        size=(mask["size"][0], mask["size"][1]),
        bbox=rle.bbox(mask),
        area=rle.area(mask),
        extra=extra or {},
    )


class _FileIds:
    """The ids of a file's three lists."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.images = Ids(document, "images")
        self.categories = Ids(document, "categories")
        self.annotations = Ids(document, "annotations")


def _used(document: Mapping[str, Any], ids: _FileIds) -> frozenset[int]:
    """Category ids that annotations use; what is malformed is told when the annotations are read."""
    listed = document.get("annotations")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    numbers = {ids.categories.number_of(entry.get("category_id")) for entry in entries}
    return frozenset(number for number in numbers if number is not None)


def _images(document: Mapping[str, Any], ids: _FileIds, name: str) -> Iterable[CocoImage]:
    for index, entry in enumerate(json_file.entries(document, "images", name)):
        where = f"{name}: images[{index}]"
        key = ids.images.of(entry, "id", where)
        where = f"{where} (id {key})"
        height, width = json_file.image_size(entry, where)
        file_name = json_file.relative_name(json_file.field(entry, "file_name", str, where), where)
        yield CocoImage(key, file_name, height, width, _extra(entry, _IMAGE_KEYS))


def _annotations(
    document: Mapping[str, Any],
    images: Mapping[int, CocoImage],
    categories: Mapping[int, str],
    ids: _FileIds,
    name: str,
) -> Iterable[CocoAnnotation]:
    for index, entry in enumerate(json_file.entries(document, "annotations", name)):
        where = f"{name}: annotations[{index}]"
        key = ids.annotations.of(entry, "id", where)
        where = f"{where} (id {key})"
        image = images.get(ids.images.of(entry, "image_id", where))
        if image is None:
            raise DatasetError(f"{where}: image_id {entry['image_id']} is not among the images")
        category_id = ids.categories.of(entry, "category_id", where)
        if category_id not in categories:
            raise DatasetError(f"{where}: category_id {category_id} is not among the categories")
        if "segmentation" not in entry:
            raise DatasetError(f"{where}: key 'segmentation' is missing")
        segmentation.check_form(entry["segmentation"], image.height, image.width, where)
        bbox, area = _box_and_area(entry, image, where)
        yield CocoAnnotation(
            id=key,
            image_id=image.id,
            category_id=category_id,
            segmentation=entry["segmentation"],
            size=(image.height, image.width),
            iscrowd=bool(json_file.integer(entry, "iscrowd", where, high=1)) if "iscrowd" in entry else False,
            bbox=bbox,
            area=area,
            extra=_extra(entry, _ANNOTATION_KEYS),
            source=name,
        )


def _box_and_area(
    entry: Mapping[str, Any], image: CocoImage, where: str
) -> tuple[tuple[float, float, float, float], float]:
    """As the file states them; what it leaves out is measured on the mask."""
    bbox, area = entry.get("bbox"), entry.get("area")
    if bbox is None or area is None:
        mask = segmentation.checked_rle(entry["segmentation"], image.height, image.width, where)
        bbox = list(rle.bbox(mask)) if bbox is None else bbox
        area = rle.area(mask) if area is None else area
    if not isinstance(bbox, list) or len(bbox) != 4 or not json_file.all_numbers(bbox):
        raise DatasetError(f"{where}: 'bbox' must be four numbers [x, y, width, height]")
    if not json_file.is_number(area) or area < 0:
        raise DatasetError(f"{where}: 'area' must be a number of pixels, 0 or more")
    return (bbox[0], bbox[1], bbox[2], bbox[3]), area


def _unique(items: Iterable[_Entry], where: str) -> Iterable[_Entry]:
    seen: set[int] = set()
    for item in items:
        if item.id in seen:
            raise DatasetError(f"{where}: id {item.id} is there twice; ids must be unique")
        seen.add(item.id)
        yield item


def _extra(entry: Mapping[str, Any], known: frozenset[str]) -> Mapping[str, Any]:
    return {key: value for key, value in entry.items() if key not in known}


def _dumped(entry: Mapping[str, Any], where: str) -> str:
    try:
        return json.dumps(entry, allow_nan=False)
    except ValueError as error:
        raise DatasetError(f"{where}: holds NaN or infinity, which JSON does not have; remove it") from error


def _annotation_entry(annotation: CocoAnnotation) -> dict[str, Any]:
    return {
        "id": annotation.id,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "iscrowd": int(annotation.iscrowd),
        "segmentation": annotation.segmentation,
        "bbox": list(annotation.bbox),
        "area": annotation.area,
        **annotation.extra,
    }
