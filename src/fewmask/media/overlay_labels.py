"""Labels on a picture that do not pile up: each beside its object, off the others where there is room."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fewmask.media.frame_source import RgbImage
from fewmask.media.track_colors import Color

_SMALLEST, _LARGEST = 12, 72  # pixels of the letters
_SIZE = 1 / 40  # of the picture's shorter side


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int

    def overlap(self, other: "Box") -> int:
        """Pixels that both have."""
        across = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        down = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        return max(0, across) * max(0, down)


@dataclass(frozen=True, slots=True)
class Label:
    """A text for the object in ``box``."""

    text: str
    color: Color
    box: Box


def draw_labels(canvas: RgbImage, labels: Sequence[Label]) -> None:
    """Write every label on uint8 [H, W, 3], the first with the free choice of its place.

    A label lies above its object, else below, inside, beside it, or further off with a line to it; it covers another
    label only where nothing is free, and of the free places one that hides little of other objects is taken.
    """
    height, width = canvas.shape[:2]
    size = round(min(max(min(height, width) * _SIZE, _SMALLEST), _LARGEST))
    taken: list[Box] = []
    for number, label in enumerate(labels):
        patch = _patch(label.text, size, label.color)
        patch = patch[:height, :width]
        others = [other.box for position, other in enumerate(labels) if position != number]
        place = _place(patch.shape[:2], label.box, (height, width), taken, others)
        taken.append(place)
        if not _beside(place, label.box):
            thickness = max(1, size // 12)
            cv2.line(canvas, _middle(place), _middle(label.box), label.color, thickness, cv2.LINE_AA)
        canvas[place.top : place.top + place.height, place.left : place.left + place.width] = patch


def _place(
    shape: tuple[int, ...], box: Box, picture: tuple[int, int], taken: Sequence[Box], others: Sequence[Box]
) -> Box:
    height, width = shape[0], shape[1]
    right, bottom, middle = box.left + box.width, box.top + box.height, box.left + (box.width - width) // 2
    spots = [
        (box.left, box.top - height), (right - width, box.top - height), (middle, box.top - height),
        (box.left, bottom), (right - width, bottom), (middle, bottom),
        (box.left, box.top), (middle, box.top + (box.height - height) // 2), (right - width, bottom - height),
        (box.left - width, box.top), (right, box.top), (box.left - width, bottom - height), (right, bottom - height),
    ]  # fmt: skip
    # Further off, in rings of one label's height, if nothing beside the object is free.
    spots += [
        (middle + across * width, box.top + down * height) for ring in range(2, 7) for across in (0, -1, 1)
        for down in (-ring, ring)
    ]  # fmt: skip
    best, least = Box(0, 0, width, height), float("inf")
    for order, (left, top) in enumerate(spots):
        inside = Box(min(max(left, 0), picture[1] - width), min(max(top, 0), picture[0] - height), width, height)
        on_labels = sum(inside.overlap(other) for other in taken)
        on_objects = sum(inside.overlap(other) for other in others) / (1 + len(others))
        cost = 1000.0 * on_labels + on_objects + order * width * height / 20
        if cost < least:
            best, least = inside, cost
    return best


def _beside(place: Box, box: Box) -> bool:
    """Whether a label touches or overlaps the box of its object."""
    around = Box(box.left - 2, box.top - 2, box.width + 4, box.height + 4)
    return place.overlap(around) > 0


def _middle(box: Box) -> tuple[int, int]:
    return box.left + box.width // 2, box.top + box.height // 2


@lru_cache(maxsize=512)
def _patch(text: str, size: int, color: Color) -> npt.NDArray[np.uint8]:
    """The label uint8 [h, w, 3]: letters in black or white, whichever the colour carries better."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    pad = max(2, size // 5)
    _, low, _, high = font.getbbox("Ag#|")  # all labels equally high
    top, bottom = min(top, low), max(bottom, high)
    patch = Image.new("RGB", (int(right - left) + 2 * pad, int(bottom - top) + pad), color)
    red, green, blue = color
    ink = (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)
    ImageDraw.Draw(patch).text((pad - left, pad // 2 - top), text, font=font, fill=ink)
    return np.array(patch)
