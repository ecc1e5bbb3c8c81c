"""Copy-paste: objects cut out of annotated images, and a canvas on which they are laid front to back.

The arithmetic is whole-number and loses nothing: every pixel starts with a transmittance of 255, each pasted object
takes ``round(alpha * transmittance / 255)`` of it, the background gets what is left. The visible alphas and the
background's share therefore sum to 255 exactly, and at most one object has 128 or more: masks thresholded at half the
range are disjoint by construction, whatever the blending at the edges.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, overload
from zlib import crc32

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.datasets.coco import CocoAnnotation, CocoDataset, CocoImage
from fewmask.datasets.synth_warp import ByteImage, Floats, warp
from fewmask.errors import DatasetError
from fewmask.media import rle

Part = Literal["all", "train", "val"]

OPAQUE_FROM = 128
"""A pixel belongs to an object where its visible alpha is at least this (of 255): half or more of the light."""
_MARGIN = 3  # transparent pixels kept around a cut-out, so that interpolation at its edge finds alpha 0
_MOST_CONTACT = 1 / 3
_FEW = 5
_CACHED = 128
_LONGEST_SIDE = 1024  # pixels of a cut-out kept in memory; larger ones are reduced when they are read


@dataclass(frozen=True)
class CutOut:
    """An object cut out of an image.

    ``rgba`` is uint8 [h, w, 4], red first, with straight (not premultiplied) alpha: 255 inside the mask, 0 outside,
    0 on the outermost pixels. Colours continue beyond the mask, so that blending never mixes in the old background.
    """

    rgba: ByteImage
    category_id: int
    annotation_id: int


@dataclass(frozen=True)
class Pasted:
    """Where an object came to lie: ``alpha`` is its own, ``visible`` what objects in front leave of it (uint8 [h, w]).

    The arrays cover the canvas from (``top``, ``left``); elsewhere the object is absent.
    """

    top: int
    left: int
    alpha: ByteImage
    visible: ByteImage

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The exact visible region, bool [h, w]."""
        return self.visible >= OPAQUE_FROM

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the arrays cover."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def hidden_share(self) -> float:
        """Share in [0, 1] of the object's pixels inside the canvas that others hide; nan where it has none."""
        whole = int(np.count_nonzero(self.alpha >= OPAQUE_FROM))
        return 1.0 - int(np.count_nonzero(self.mask)) / whole if whole else float("nan")


class Canvas:
    """A picture in the making, filled from the front to the back.

    ``transmittance`` uint8 [H, W] is how much of what lies behind still shows (255 = all of it).
    """

    def __init__(self, height: int, width: int) -> None:
        self.transmittance: ByteImage = np.full((height, width), 255, np.uint8)
        self._light = np.zeros((height, width, 3), np.uint16)

    def lay(self, top: int, left: int, rgba: ByteImage) -> Pasted:
        """Lay ``rgba`` [h, w, 4] behind everything laid so far; it must fit inside the canvas."""
        height, width = rgba.shape[:2]
        window = slice(top, top + height), slice(left, left + width)
        pasted = cover(self.transmittance, top, left, np.ascontiguousarray(rgba[..., 3]))
        self._light[window] += pasted.visible[..., None] * rgba[..., :3].astype(np.uint16)
        return pasted

    def over(self, background: ByteImage) -> ByteImage:
        """The finished picture uint8 [H, W, 3] with ``background`` [H, W, 3] behind all objects."""
        light = background * self.transmittance[..., None].astype(np.uint16)
        light += self._light
        light += 127
        light //= 255
        return light.astype(np.uint8)


def cover(transmittance: ByteImage, top: int, left: int, alpha: ByteImage) -> Pasted:
    """Take the share of ``alpha`` [h, w] out of ``transmittance`` [H, W], in place."""
    height, width = alpha.shape
    behind = transmittance[top : top + height, left : left + width]
    visible = ((alpha.astype(np.uint16) * behind + 127) // 255).astype(np.uint8)
    behind -= visible
    return Pasted(top, left, alpha, visible)


def paste(
    canvas: Canvas,
    cut_out: CutOut,
    transform: Floats,
    *,
    waves: Floats | None = None,
    blur: tuple[float, float] = (0.0, 0.0),
) -> Pasted | None:
    """Lay a warped cut-out behind everything already on ``canvas``; None where it misses the canvas.

    Args:
        canvas: filled in place.
        cut_out: the object.
        transform: homography [3, 3] from the cut-out's pixels to the canvas (x right, y down, pixel centres whole).
        waves: elastic deformation [K, 5], each row (dx, dy, kx, ky, phase): the point (x, y) of the cut-out shows its
            neighbour at (x, y) + (dx, dy) · sin(kx·x + ky·y + phase). All in pixels of the cut-out and radians.
        blur: motion during the exposure (x, y) in pixels of the canvas; lengths below 1.5 are not blurred.

    Raises:
        ConfigError: the transform cannot be inverted, or turns a part of the object behind the camera.
    """
    warped = warp(cut_out.rgba, transform, canvas.transmittance.shape, waves=waves, blur=blur)
    return None if warped is None else canvas.lay(*warped)


def resized(cut_out: CutOut, scale: float, *, feather: float = 0.0) -> CutOut:
    """The cut-out at ``scale`` times its size, its edge softened by a Gaussian of ``feather`` pixels afterwards."""
    height, width = cut_out.rgba.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rgba = cv2.resize(cut_out.rgba, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    rgba = _with_margin(rgba, _MARGIN + int(np.ceil(2 * feather)))
    if feather > 0:
        rgba[..., 3] = cv2.GaussianBlur(rgba[..., 3], (0, 0), feather, borderType=cv2.BORDER_REPLICATE)
        _clear_border(rgba)
    return replace(cut_out, rgba=rgba)


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
    rgba = _with_margin(np.dstack([image[window], mask[window] * np.uint8(255)]), _MARGIN)
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


def _with_margin(rgba: ByteImage, margin: int) -> ByteImage:
    padded: ByteImage = cv2.copyMakeBorder(rgba, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    padded[:margin, :, 3] = padded[-margin:, :, 3] = 0
    padded[:, :margin, 3] = padded[:, -margin:, 3] = 0
    return padded


def _clear_border(rgba: ByteImage) -> None:
    rgba[[0, -1], :, 3] = 0
    rgba[:, [0, -1], 3] = 0
