"""Masks drawn on a frame: fill, outline and label in one fixed colour per track."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.frame_source import RgbImage
from fewmask.media.overlay_labels import Box, Label, draw_labels
from fewmask.media.results import FrameResult
from fewmask.media.track_colors import Color, track_color

_DARK = 20
_SQUARE = np.ones((3, 3), dtype=np.uint8)


def draw(
    frame: RgbImage,
    result: FrameResult,
    categories: Mapping[int, str],
    *,
    opacity: float = 0.45,
    labels: bool = True,
    scores: bool = False,
) -> RgbImage:
    """A copy of the frame with every present track on it; larger masks lie below smaller ones.

    Args:
        frame: uint8 [H, W, 3].
        result: the tracks of this frame.
        categories: class names by id; the label leaves the name out where all there is are objects.
        opacity: of the fill, in [0, 1]; a higher value hides more of the object.
        labels: write "#id name" at each track.
        scores: with its score.

    Raises:
        DatasetError: frame and result differ in size.
    """
    if frame.shape[:2] != tuple(result.size):
        raise DatasetError(
            f"frame {result.index}: the picture is {frame.shape[0]}x{frame.shape[1]}, "
            f"the result {result.size[0]}x{result.size[1]}"
        )
    canvas = np.array(frame, order="C")
    shapes = _present_shapes(result, categories, scores=scores)
    for shape in shapes:
        _draw_mask(canvas, shape, opacity)
    if labels:
        draw_labels(canvas, [Label(shape.text, shape.color, _main_part(shape)) for shape in reversed(shapes)])
    return canvas


@dataclass(frozen=True, slots=True)
class _Shape:
    box: Box  # with a margin for the rim
    mask: npt.NDArray[np.uint8]  # the crop inside the box, 0 or 1
    color: Color
    text: str


def _present_shapes(result: FrameResult, categories: Mapping[int, str], *, scores: bool) -> list[_Shape]:
    """The tracks that have pixels here, largest first."""
    shapes = []
    margin = _outline_width(result.size)
    named = list(categories.values()) != ["object"]
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
        text = f"#{track_id}"
        text += f" {categories.get(category_id, category_id)}" if named else ""
        text += f" {score:.2f}" if scores else ""
        shapes.append(_Shape(Box(left, top, right - left, bottom - top), crop, track_color(track_id), text))
    return sorted(shapes, key=lambda shape: -int(shape.mask.sum()))


def _main_part(shape: _Shape) -> Box:
    """The box of its largest connected piece: between two pieces a label would lie on something else."""
    _, _, statistics, _ = cv2.connectedComponentsWithStats(shape.mask, connectivity=8)
    left, top, width, height, _ = statistics[1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())].tolist()
    return Box(shape.box.left + left, shape.box.top + top, width, height)


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
