"""Masks drawn on a frame: fill, outline and label in one fixed colour per track."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.frame_source import RgbImage
from fewmask.media.results import FrameResult

Color = tuple[int, int, int]

# Twenty colours far apart in hue or lightness, neighbours in the list above all: new tracks get consecutive ids.
_PALETTE: tuple[Color, ...] = (
    (255, 64, 64),
    (38, 132, 255),
    (255, 200, 0),
    (0, 190, 110),
    (200, 80, 255),
    (255, 128, 0),
    (0, 210, 230),
    (255, 90, 180),
    (150, 215, 0),
    (120, 90, 255),
    (190, 110, 50),
    (0, 140, 140),
    (255, 170, 140),
    (90, 110, 200),
    (230, 230, 90),
    (200, 0, 90),
    (120, 230, 170),
    (150, 60, 150),
    (120, 130, 20),
    (170, 200, 255),
)
_SHADES = (1.0, 0.65, 0.4)  # beyond twenty tracks the colours come again, darker
_DARK = 20
_SQUARE = np.ones((3, 3), dtype=np.uint8)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def track_color(track_id: int) -> Color:
    """The RGB colour of a track id, the same always; sixty ids in a row differ, consecutive ones strongly."""
    shade = _SHADES[(track_id // len(_PALETTE)) % len(_SHADES)]
    red, green, blue = _PALETTE[track_id % len(_PALETTE)]
    return round(red * shade), round(green * shade), round(blue * shade)


def draw(
    frame: RgbImage, result: FrameResult, categories: Mapping[int, str], *, opacity: float = 0.45, labels: bool = True
) -> RgbImage:
    """A copy of the frame with every present track on it; larger masks lie below smaller ones.

    Args:
        frame: uint8 [H, W, 3].
        result: the tracks of this frame.
        categories: class names by id; the label leaves the name out when there is only one class.
        opacity: of the fill, in [0, 1]; a higher value hides more of the object.
        labels: write "#id name score" at each track.

    Raises:
        DatasetError: frame and result differ in size.
    """
    if frame.shape[:2] != tuple(result.size):
        raise DatasetError(
            f"frame {result.index}: the picture is {frame.shape[0]}x{frame.shape[1]}, "
            f"the result {result.size[0]}x{result.size[1]}"
        )
    canvas = np.array(frame, order="C")
    shapes = _present_shapes(result, categories)
    for shape in shapes:
        _draw_mask(canvas, shape, opacity)
    if labels:
        taken: list[_Box] = []
        for shape in reversed(shapes):
            taken.append(_draw_label(canvas, shape, taken))
    return canvas


@dataclass(frozen=True, slots=True)
class _Box:
    left: int
    top: int
    width: int
    height: int

    def touches(self, other: "_Box") -> bool:
        apart = (
            self.left >= other.left + other.width
            or other.left >= self.left + self.width
            or self.top >= other.top + other.height
            or other.top >= self.top + self.height
        )
        return not apart


@dataclass(frozen=True, slots=True)
class _Shape:
    box: _Box  # with a margin for the rim
    mask: npt.NDArray[np.uint8]  # the crop inside the box, 0 or 1
    color: Color
    text: str


def _present_shapes(result: FrameResult, categories: Mapping[int, str]) -> list[_Shape]:
    """The tracks that have pixels here, largest first."""
    shapes = []
    margin = _outline_width(result.size)
    rows = zip(result.track_ids, result.category_ids, result.scores, result.masks, strict=True)
    for track_id, category_id, score, mask in rows:
        if mask is None:
            continue
        left, top, width, height = (int(value) for value in rle.bbox(mask))
        if width == 0 or height == 0:
            continue
        right, bottom = min(left + width + margin, result.size[1]), min(top + height + margin, result.size[0])
        left, top = max(left - margin, 0), max(top - margin, 0)
        crop = rle.decode(mask)[top:bottom, left:right].astype(np.uint8)
        name = f" {categories.get(category_id, category_id)}" if len(categories) > 1 else ""
        shapes.append(
            _Shape(
                _Box(left, top, right - left, bottom - top),
                crop,
                track_color(track_id),
                f"#{track_id}{name} {score:.2f}",
            )
        )
    return sorted(shapes, key=lambda shape: -int(shape.mask.sum()))


def _outline_width(size: Sequence[int]) -> int:
    return max(2, round(min(size) / 300))


def _draw_mask(canvas: RgbImage, shape: _Shape, opacity: float) -> None:
    """Blend the fill inside the mask's box; a dark rim keeps the coloured outline readable on any background."""
    box = shape.box
    crop = canvas[box.top : box.top + box.height, box.left : box.left + box.width]
    tint = np.full(crop.shape, shape.color, dtype=np.uint8)
    blended = cv2.addWeighted(crop, 1 - opacity, tint, opacity, 0)
    thin = _outline_width(canvas.shape[:2])
    inner = cv2.erode(shape.mask, _SQUARE, iterations=thin)
    grown = cv2.dilate(shape.mask, _SQUARE, iterations=max(1, thin // 2))
    cv2.copyTo(np.full_like(tint, _DARK), grown, crop)
    cv2.copyTo(tint, shape.mask, crop)
    cv2.copyTo(blended, inner, crop)


def _draw_label(canvas: RgbImage, shape: _Shape, taken: list[_Box]) -> _Box:
    """Write the label above the object, or moved down past labels that are already there; returns its box."""
    height, width = canvas.shape[:2]
    scale = max(0.35, min(height, width) / 1000)
    thickness = max(1, round(scale * 1.6))
    (text_width, text_height), baseline = cv2.getTextSize(shape.text, _FONT, scale, thickness)
    pad = max(2, round(scale * 4))
    box_width, box_height = text_width + 2 * pad, text_height + baseline + 2 * pad
    left = max(0, min(shape.box.left, width - box_width))
    top = max(0, min(shape.box.top - box_height, height - box_height))
    box = _Box(left, top, box_width, box_height)
    for other in sorted(taken, key=lambda placed: placed.top):
        if box.touches(other) and other.top + other.height + box_height <= height:
            box = _Box(left, other.top + other.height, box_width, box_height)
    corner = (box.left + box.width - 1, box.top + box.height - 1)
    cv2.rectangle(canvas, (box.left, box.top), corner, shape.color, cv2.FILLED)
    red, green, blue = shape.color
    ink = (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)
    origin = (box.left + pad, box.top + pad + text_height)
    cv2.putText(canvas, shape.text, origin, _FONT, scale, ink, thickness, cv2.LINE_AA)
    return box
