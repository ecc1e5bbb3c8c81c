"""Noisy masks that mimic good and bad predictions, for training the IoU network (section 4.3).

The paper says only that noise is added to the true masks; this noise model is ours: growing or shrinking the outline,
shifting, dropping a part, adding a false blob, each with probability one half and a random strength, on the token grid.
"""

import torch
from torch import Tensor
from torch.nn import functional


def noisy_masks(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Bool [T, h, w] with noise of its own for each frame; the same generator state gives the same noise."""
    return torch.stack([_noisy(mask, generator) for mask in masks])


def _noisy(mask: Tensor, generator: torch.Generator) -> Tensor:
    height, width = mask.shape
    for change in (_outline, _shift, _drop, _blob):
        if _chance(generator) < 0.5:
            mask = change(mask, height, width, generator)
    return mask


def _outline(mask: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Grow or shrink by up to a tenth of the shorter side."""
    radius = 1 + int(_chance(generator) * min(height, width) / 10)
    grow = _chance(generator) < 0.5
    values = (mask if grow else ~mask).float()[None]
    spread = functional.max_pool2d(values, 2 * radius + 1, stride=1, padding=radius)[0] > 0
    return spread if grow else ~spread


def _shift(mask: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Move by up to a quarter of each side; what enters is background."""
    down = int((2 * _chance(generator) - 1) * height / 4)
    right = int((2 * _chance(generator) - 1) * width / 4)
    moved = torch.zeros_like(mask)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = mask[
        max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]
    return moved


def _drop(mask: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Lose everything on one side of a random line through the mask."""
    rows, columns = mask.nonzero(as_tuple=True)
    if len(rows) == 0:
        return mask
    pivot = int(_chance(generator) * len(rows))
    angle = torch.tensor(2 * torch.pi * _chance(generator))
    side = torch.arange(height)[:, None].sub(int(rows[pivot])) * angle.sin()
    side = side + torch.arange(width).sub(int(columns[pivot])) * angle.cos()
    return mask & (side.to(mask.device) <= 0)


def _blob(mask: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Add a false ellipse with half-axes of up to a quarter of each side."""
    down = 1 + _chance(generator) * height / 4
    right = 1 + _chance(generator) * width / 4
    row, column = _chance(generator) * height, _chance(generator) * width
    distance = ((torch.arange(height)[:, None] - row) / down) ** 2 + ((torch.arange(width) - column) / right) ** 2
    return mask | (distance.to(mask.device) <= 1)


def _chance(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
