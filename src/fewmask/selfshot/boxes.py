"""Boxes in normalised coordinates: conversions, IoU and generalised IoU, and the tight box of a mask."""

import torch
from torch import Tensor

SMOOTHING = 1e-6
"""Added to both sides of every ratio, so that two empty boxes at one place overlap fully and nothing divides by 0."""


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Centre, width and height [..., 4] to corners x0, y0, x1, y1."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners x0, y0, x1, y1 [..., 4] to centre, width and height."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def box_iou(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and union area of every pair.

    Args:
        rows: corners [..., R, 4].
        columns: corners [..., C, 4].

    Returns:
        IoU and union, both [..., R, C]
    """
    area_rows, area_columns = _area(rows), _area(columns)
    low = torch.maximum(rows[..., :, None, :2], columns[..., None, :, :2])
    high = torch.minimum(rows[..., :, None, 2:], columns[..., None, :, 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    union = area_rows[..., :, None] + area_columns[..., None, :] - intersection
    return (intersection + SMOOTHING) / (union + SMOOTHING), union


def generalized_box_iou(rows: Tensor, columns: Tensor) -> Tensor:
    """GIoU of every pair, in (−1, 1]: IoU less the share of the common hull that neither box fills.

    Args:
        rows: corners [..., R, 4].
        columns: corners [..., C, 4].

    Returns:
        [..., R, C]
    """
    iou, union = box_iou(rows, columns)
    low = torch.minimum(rows[..., :, None, :2], columns[..., None, :, :2])
    high = torch.maximum(rows[..., :, None, 2:], columns[..., None, :, 2:])
    hull = (high - low).clamp(min=0).prod(-1)
    return iou - (hull - union + SMOOTHING) / (hull + SMOOTHING)


def masks_to_boxes(masks: Tensor) -> Tensor:
    """Tight boxes of bitmaps as inclusive pixel indices x0, y0, x1, y1; zeros for an empty mask.

    Args:
        masks: bool [..., H, W].

    Returns:
        float32 [..., 4]
    """
    columns, rows = masks.any(-2), masks.any(-1)
    x0, x1 = _span(columns)
    y0, y1 = _span(rows)
    return torch.stack([x0, y0, x1, y1], -1).float() * masks.any(-1).any(-1)[..., None]


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First and last true index along the last axis."""
    length = occupied.shape[-1]
    first = occupied.int().argmax(-1)
    last = length - 1 - occupied.flip(-1).int().argmax(-1)
    return first, last
