"""Copy-paste: objects cut out of annotated images; `canvas.py` lays them onto others."""

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Literal, overload
from zlib import crc32

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.datasets.canvas import MARGIN, CutOut, resized, with_margin
from fewmask.datasets.coco import CocoAnnotation, CocoDataset, CocoImage
from fewmask.datasets.synth_warp import ByteImage, Floats
from fewmask.errors import DatasetError
from fewmask.media import rle

Part = Literal["all", "train", "val"]

_MOST_CONTACT = 1 / 3
_FEW = 5
_CACHED = 128
_LONGEST_SIDE = 1024  # pixels of a cut-out kept in memory; larger ones are reduced when they are read


class CutOuts(Sequence[CutOut]):
    """Cut-outs read when they are asked for; the last 128 are kept. Their ids are known without reading.

    Those longer than 1024 pixels are reduced to that, so that memory stays below half a gigabyte.
    """

    def __init__(self, dataset: CocoDataset, annotations: Sequence[CocoAnnotation]) -> None:
        images = {image.id: image for image in dataset.images}
        self._annotations = list(annotations)
        self._images = [images[annotation.image_id] for annotation in annotations]
        self._picture_of = dataset.read
        self.category_ids = [annotation.category_id for annotation in annotations]
        self.annotation_ids = [annotation.id for annotation in annotations]
        self._read = lru_cache(maxsize=_CACHED)(self._cut)

    def __len__(self) -> int:
        return len(self._annotations)

    @overload
    def __getitem__(self, index: int) -> CutOut: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[CutOut]: ...
    def __getitem__(self, index: int | slice) -> CutOut | Sequence[CutOut]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._read(range(len(self))[index])

    def __iter__(self) -> Iterator[CutOut]:
        return (self[index] for index in range(len(self)))

    def _cut(self, index: int) -> CutOut:
        image = self._images[index]
        cut_out = cut_out_of(self._picture_of(image), self._annotations[index])
        longest = max(cut_out.rgba.shape)
        return cut_out if longest <= _LONGEST_SIDE else resized(cut_out, _LONGEST_SIDE / longest)


def load_cut_outs(
    dataset: CocoDataset,
    *,
    categories: Collection[int] | None = None,
    part: Part = "all",
    min_side: float = 32.0,
) -> CutOuts:
    """The objects of a dataset that can be cut out whole.

    Left out are crowds, objects smaller than ``min_side`` (square root of the area, in pixels) and objects in pieces
    (the largest polygon holds less than nine tenths). So are objects that touch the image border and objects whose
    outline runs along other objects for a third of its length, which may be cut off; but a category with fewer than
    five objects is filled up to five with the best of those.

    Args:
        dataset: what `fewmask.datasets.coco.read_coco` returns.
        categories: only these category ids; by default all.
        part: "train" and "val" are disjoint parts of the images (four fifths and one fifth, by a checksum of the id).
        min_side: see above.

    Raises:
        DatasetError: no object is left.
    """
    candidates = [
        annotation
        for annotation in dataset.annotations
        if (categories is None or annotation.category_id in categories)
        and in_part(annotation.image_id, part)
        and not annotation.iscrowd
        and annotation.area >= min_side**2
        and _in_one_piece(annotation)
    ]
    chosen = _most_whole(candidates, dataset)
    if not chosen:
        raise DatasetError(
            f"{dataset.images_root}: no object of the chosen classes is whole and at least {min_side:g} pixels large; "
            "choose more classes or a smaller minimum"
        )
    return CutOuts(dataset, chosen)


def in_part(image_id: int, part: Part) -> bool:
    """Whether an image belongs to ``part`` of its dataset; independent of the other images and of any seed."""
    is_val = crc32(str(image_id).encode()) % 5 == 0
    return part == "all" or is_val == (part == "val")


def cut_out_of(image: ByteImage, annotation: CocoAnnotation) -> CutOut:
    """Cut one annotated object out of its image uint8 [H, W, 3].

    The rim of the mask, which usually holds some background, takes the colour of the nearest pixel further in.
    """
    mask = rle.decode(annotation.mask).view(np.uint8)
    x, y, width, height = (int(value) for value in rle.bbox(annotation.mask))
    if width == 0:
        raise DatasetError(f"{annotation.source}: annotation {annotation.id} has an empty mask")
    window = slice(y, y + height), slice(x, x + width)
    rgba = with_margin(np.dstack([image[window], mask[window] * np.uint8(255)]), MARGIN)
    rim = 2 * max(1, round(0.012 * max(width, height))) + 1
    inside = cv2.erode(rgba[..., 3], np.ones((rim, rim), np.uint8))
    if 2 * np.count_nonzero(inside) < np.count_nonzero(rgba[..., 3]):
        inside = rgba[..., 3]  # too thin to lose its rim
    _, nearest = cv2.distanceTransformWithLabels(
        np.where(inside > 0, np.uint8(0), np.uint8(1)), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    colour_of = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    colour_of[nearest[inside > 0]] = rgba[inside > 0][:, :3]
    rgba[..., :3] = colour_of[nearest]
    return CutOut(rgba, annotation.category_id, annotation.id)


def _most_whole(candidates: Sequence[CocoAnnotation], dataset: CocoDataset) -> list[CocoAnnotation]:
    """All that look whole, and per category the best of the rest up to five; in the order of the file."""
    images = {image.id: image for image in dataset.images}
    by_category: dict[int, list[tuple[float, int]]] = {}
    for index, annotation in enumerate(candidates):
        contact = _contact(annotation, dataset.annotations_of[annotation.image_id])
        fault = contact + (1.0 if _touches_border(annotation, images[annotation.image_id]) else 0.0)
        by_category.setdefault(annotation.category_id, []).append((fault, index))
    kept: list[int] = []
    for ranked in by_category.values():
        ranked.sort()
        kept += [index for rank, (fault, index) in enumerate(ranked) if fault <= _MOST_CONTACT or rank < _FEW]
    return [candidates[index] for index in sorted(kept)]


def _in_one_piece(annotation: CocoAnnotation) -> bool:
    if not isinstance(annotation.segmentation, list):
        return True
    areas = [_polygon_area(np.asarray(polygon, float)) for polygon in annotation.segmentation]
    return max(areas) >= 0.9 * sum(areas)


def _polygon_area(polygon: Floats) -> float:
    x, y = polygon[0::2], polygon[1::2]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _touches_border(annotation: CocoAnnotation, image: CocoImage) -> bool:
    x, y, width, height = annotation.bbox
    return x < 2 or y < 2 or x + width > image.width - 2 or y + height > image.height - 2


def _contact(annotation: CocoAnnotation, others: Sequence[CocoAnnotation]) -> float:
    """Share of the object's outline that lies within two pixels of another object of its image."""
    x, y, width, height = annotation.bbox
    corner = np.array([int(x) - 2, int(y) - 2])
    size = int(height) + 5, int(width) + 5
    outline = np.zeros(size, np.uint8)
    cv2.polylines(outline, _outlines(annotation, corner), isClosed=True, color=1)
    near = np.zeros(size, np.uint8)
    for other in others:
        x2, y2, width2, height2 = other.bbox
        apart = x2 > x + width + 2 or y2 > y + height + 2 or x2 + width2 < x - 2 or y2 + height2 < y - 2
        if other.id == annotation.id or other.iscrowd or apart:
            continue
        polygons = _outlines(other, corner)
        cv2.fillPoly(near, polygons, 1)
        cv2.polylines(near, polygons, isClosed=True, color=1, thickness=5)
    return float(near[outline > 0].mean()) if outline.any() else 0.0


def _outlines(annotation: CocoAnnotation, corner: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int32]]:
    """The polygons in whole pixels relative to ``corner`` (x, y); those of an RLE are traced."""
    if isinstance(annotation.segmentation, list):
        return [np.rint(np.reshape(p, (-1, 2)) - corner).astype(np.int32) for p in annotation.segmentation]
    mask = rle.decode(annotation.mask).view(np.uint8)
    traced, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [(contour[:, 0] - corner).astype(np.int32) for contour in traced]
