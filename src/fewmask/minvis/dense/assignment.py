"""Which places of the feature maps are taught to speak for which object.

Candidates lie around the object's centre of mass on the maps that suit its size (as SOLO has it); of these the places
whose score and mask are the best so far are taken (task-aligned, as in TOOD), so that several voices per object are
taught from the first step and the best ones win later.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SIZES = ((0.0, 80.0), (40.0, 176.0), (96.0, float("inf")))  # sqrt(box area) in input pixels, map by map
RADIUS = 1.5  # strides around the centre
MOST = 9  # voices per object


@dataclass(frozen=True)
class Assignment:
    """Places and the objects they speak for: ``places`` long [P], ``objects`` long [P]; a place is there once."""

    places: Tensor
    objects: Tensor


def candidates(masks: Tensor, places: Tensor) -> Tensor:
    """Places that may speak for each object, at least one: bool [n, L].

    Args:
        masks: bool [n, H, W] at input size, none empty.
        places: [L, 3], see `fewmask.minvis.dense.network.places_of`.
    """
    count, height, width = masks.shape
    area = masks.flatten(1).sum(1).clamp(min=1).float()
    columns, rows = masks.sum(1).float(), masks.sum(2).float()  # [n, W], [n, H]
    xs = torch.arange(width, device=masks.device) + 0.5
    ys = torch.arange(height, device=masks.device) + 0.5
    centre = torch.stack(((columns @ xs) / area, (rows @ ys) / area), 1)
    box = torch.stack(
        (_first(columns), _first(rows), width - _first(columns.flip(1)), height - _first(rows.flip(1))), 1
    )
    size = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])).sqrt()
    xy, stride = places[:, :2], places[:, 2]
    distance = (xy[None] - centre[:, None]).abs().amax(-1) / stride  # [n, L], strides
    margin = 0.5 * stride[None]
    inside = (
        (xy[None, :, 0] > box[:, :1] - margin) & (xy[None, :, 0] < box[:, 2:3] + margin)
        & (xy[None, :, 1] > box[:, 1:2] - margin) & (xy[None, :, 1] < box[:, 3:] + margin)
    )  # fmt: skip
    low, high = (
        torch.tensor([SIZES[int(s).bit_length() - 4][end] for s in stride.tolist()], device=masks.device)
        for end in (0, 1)
    )
    suits = (size[:, None] >= low) & (size[:, None] < high)
    allowed = suits & inside & (distance < RADIUS)
    nearest = distance.masked_fill(~suits, float("inf")).argmin(1)
    allowed[torch.arange(count, device=masks.device), nearest] = True
    return allowed


def choose(allowed: Tensor, score: Tensor, overlap: Tensor) -> Assignment:
    """Of the candidates, the `MOST` with the best score^0.5 x overlap^3 per object.

    Args:
        allowed: bool [n, L].
        score: [L] in [0, 1].
        overlap: [n, L], IoU of the place's present mask with the object; only read where ``allowed``.
    """
    metric = (score[None].clamp(min=1e-4).sqrt() * (overlap + 0.05) ** 3).masked_fill(~allowed, 0.0)
    best, places = metric.topk(min(MOST, metric.shape[1]), dim=1)
    taken = torch.zeros_like(metric).scatter_(1, places, best)
    objects = taken.argmax(0)
    chosen = taken.amax(0) > 0
    where = chosen.nonzero().flatten()
    return Assignment(where, objects[where])


def _first(sums: Tensor) -> Tensor:
    """Index of the first positive value of each row."""
    return (sums > 0).int().argmax(1).float()
