"""Real images as backgrounds, without true objects that the ground truth would not know.

Three rules say what becomes of the objects an image shows (crowds count as objects everywhere):

- ``inpaint`` (default): the camera looks at the part of the image with the fewest annotated objects, of any class;
  what is left of them is painted over from its surroundings.
- ``clean``: the camera looks at a part without any object of the classes in use; objects of other classes stay.
- ``label``: objects of the classes in use stay and become tracks of their own, fixed to the background; their crowds
  are painted over.

Images that their dataset marks as only partly annotated (``"all80": false``) are never backgrounds.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import overload

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.datasets.coco import CocoAnnotation, CocoDataset, CocoImage
from fewmask.datasets.copy_paste import Part, in_part
from fewmask.datasets.synth_config import BackgroundRule
from fewmask.datasets.synth_warp import ByteImage
from fewmask.errors import DatasetError
from fewmask.media import rle

_CACHED = 32
_MOST_PIXELS = 1 << 21
_TRIES = 60
_MOST_PAINTED = 0.03  # share of the view that may be painted over before another image is tried
_VIEW_SCALES = (1.0, 0.85, 0.7, 0.55)
_POSITIONS = 9


@dataclass(frozen=True)
class StaticObject:
    """An object that belongs to the background: ``alpha`` uint8 [H, W] over the whole picture."""

    alpha: ByteImage
    category_id: int
    annotation_id: int


@dataclass(frozen=True)
class Background:
    """A picture uint8 [H, W, 3], what must not be seen of it (``unwanted`` bool [H, W]), and objects to label."""

    image: ByteImage
    unwanted: npt.NDArray[np.bool_]
    statics: tuple[StaticObject, ...] = ()


class Backgrounds(Sequence[Background]):
    """Backgrounds read when they are asked for; the last 32 are kept, reduced to at most two megapixels."""

    def __init__(self, dataset: CocoDataset, images: Sequence[CocoImage], rule: BackgroundRule, used: frozenset[int]):
        self._images = list(images)
        self._picture_of = dataset.read
        self._annotations = [dataset.annotations_of[image.id] for image in images]
        self._rule, self._used = rule, used
        self._read = lru_cache(maxsize=_CACHED)(self._load)

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Background: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Background]: ...
    def __getitem__(self, index: int | slice) -> Background | Sequence[Background]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._read(range(len(self))[index])

    def __iter__(self) -> Iterator[Background]:
        return (self[index] for index in range(len(self)))

    def _load(self, index: int) -> Background:
        image = self._images[index]
        unwanted = np.zeros((image.height, image.width), bool)
        statics = []
        for annotation in self._annotations[index]:
            if self._is_unwanted(annotation):
                unwanted |= rle.decode(annotation.mask)
            elif self._rule == "label" and annotation.category_id in self._used:
                alpha = rle.decode(annotation.mask).view(np.uint8) * np.uint8(255)
                statics.append(StaticObject(_reduced(alpha), annotation.category_id, annotation.id))
        # Where annotations overlap, the smaller object is taken to stand in front.
        statics.sort(key=lambda static: int(np.count_nonzero(static.alpha)))
        picture = _reduced(self._picture_of(image))
        return Background(picture, _reduced(unwanted.view(np.uint8) * np.uint8(255)) > 0, tuple(statics))

    def _is_unwanted(self, annotation: CocoAnnotation) -> bool:
        used = annotation.category_id in self._used
        return {"inpaint": True, "clean": used, "label": used and annotation.iscrowd}[self._rule]


def load_backgrounds(
    dataset: CocoDataset, *, rule: BackgroundRule, categories: Collection[int], part: Part = "all"
) -> Backgrounds:
    """The fully annotated images of a part of the dataset, as backgrounds under ``rule`` for the classes in use.

    Raises:
        DatasetError: there is none.
    """
    images = [i for i in dataset.images if i.extra.get("all80", True) and in_part(i.id, part)]
    if not images:
        raise DatasetError(f"{dataset.images_root}: no fully annotated image is left to serve as background")
    return Backgrounds(dataset, images, rule, frozenset(categories))


def choose_background(
    rng: np.random.Generator, backgrounds: Sequence[Background], height: int, width: int, rule: BackgroundRule
) -> Background:
    """A random background, cut and scaled to ``height`` x ``width``, that ``rule`` allows.

    Raises:
        DatasetError: under "clean", none of 60 images has a part without objects of the classes in use.
    """
    limit = 0.0 if rule == "clean" else _MOST_PAINTED
    best: tuple[float, Background, tuple[int, int, int, int]] | None = None
    for index in rng.permutation(len(backgrounds))[:_TRIES]:
        background = backgrounds[int(index)]
        share, view = _emptiest_view(rng, background.unwanted, height, width)
        if best is None or share < best[0]:
            best = share, background, view
        if share <= limit:
            break
    if best is None or (rule == "clean" and best[0] > 0):
        raise DatasetError("no background is free of the chosen classes; use the background rule 'inpaint' or 'label'")
    return _look_at(best[1], best[2], height, width, mirrored=bool(rng.integers(2)))


def _reduced(plane: ByteImage) -> ByteImage:
    height, width = plane.shape[:2]
    scale = (_MOST_PIXELS / (height * width)) ** 0.5
    if scale >= 1:
        return plane
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA))


def _emptiest_view(
    rng: np.random.Generator, unwanted: npt.NDArray[np.bool_], height: int, width: int
) -> tuple[float, tuple[int, int, int, int]]:
    """(share of unwanted pixels, (top, left, height, width)) of the best view in the proportion height : width."""
    full_height, full_width = unwanted.shape
    fit = min(full_height / height, full_width / width)
    sums = cv2.integral(unwanted.view(np.uint8))
    best = (np.inf, 1.0, (0, 0, 1, 1))
    for scale in _VIEW_SCALES:
        view_height, view_width = max(1, int(height * fit * scale)), max(1, int(width * fit * scale))
        tops = rng.integers(0, full_height - view_height + 1, _POSITIONS)[:, None]
        lefts = rng.integers(0, full_width - view_width + 1, _POSITIONS)[None]
        bottoms, rights = tops + view_height, lefts + view_width
        inside = sums[bottoms, rights] - sums[tops, rights] - sums[bottoms, lefts] + sums[tops, lefts]
        shares = inside / (view_height * view_width)
        row, column = np.unravel_index(int(shares.argmin()), shares.shape)
        share = float(shares[row, column])
        cost = share + 0.1 * (1 - scale)  # a wider view is sharper
        if share == 0 or cost < best[0]:
            best = cost, share, (int(tops[row, 0]), int(lefts[0, column]), view_height, view_width)
        if share == 0:
            break
    return best[1], best[2]


def _look_at(
    background: Background, view: tuple[int, int, int, int], height: int, width: int, *, mirrored: bool
) -> Background:
    """The view scaled to height x width, with nothing unwanted left in it."""
    top, left, view_height, view_width = view
    window = slice(top, top + view_height), slice(left, left + view_width)

    def scaled(plane: ByteImage) -> ByteImage:
        cut = plane[window][:, ::-1] if mirrored else plane[window]
        shrinks = view_width > width
        filter_ = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC if plane.ndim == 3 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(np.ascontiguousarray(cut), (width, height), interpolation=filter_))

    unwanted = scaled(background.unwanted.view(np.uint8) * np.uint8(255)) > 0
    statics = [
        StaticObject(alpha, static.category_id, static.annotation_id)
        for static in background.statics
        if (alpha := scaled(static.alpha)).any()
    ]
    return Background(_painted_over(scaled(background.image), unwanted), np.zeros_like(unwanted), tuple(statics))


def _painted_over(image: ByteImage, unwanted: npt.NDArray[np.bool_]) -> ByteImage:
    """``image`` with the unwanted pixels, and a rim for what the annotation missed, filled from around them."""
    if not unwanted.any():
        return image
    height, width = unwanted.shape
    rim = 2 * max(2, round(0.015 * min(height, width))) + 1
    hole = cv2.dilate(unwanted.view(np.uint8) * np.uint8(255), np.ones((rim, rim), np.uint8))
    # The filling is smooth anyway: at half size it costs a quarter.
    half = max(1, width // 2), max(1, height // 2)
    small_hole = (cv2.resize(hole, half, interpolation=cv2.INTER_AREA) > 0).view(np.uint8)
    small = cv2.inpaint(cv2.resize(image, half, interpolation=cv2.INTER_AREA), small_hole, 4, cv2.INPAINT_TELEA)
    filled = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    share = cv2.GaussianBlur(hole, (0, 0), 1.5)[..., None].astype(np.uint16)
    return np.asarray((filled * share + image * (255 - share) + 127) // 255, np.uint8)
