"""Masks on the token grid: one value for every 8 x 8 pixels."""

import torch
from torch import Tensor

STRIDE = 8
"""Pixels per token along each axis."""


def to_tokens(masks: Tensor) -> Tensor:
    """Masks [N, H, W] (non-zero = inside) -> bool [N, ceil(H / 8), ceil(W / 8)]: pixels 0, 8, 16, ... of each axis."""
    return masks[..., ::STRIDE, ::STRIDE] != 0


def repair_degenerate(masks: Tensor) -> Tensor:
    """Bool masks [N, h, w] with an inside and an outside each, as the released code repairs them.

    An empty mask gets its central 2 x 2 block set; a full one gets its four corners cleared.
    """
    masks = masks.clone()
    height, width = masks.shape[-2:]
    top, left = max(height // 2 - 1, 0), max(width // 2 - 1, 0)
    flat = masks.flatten(1)
    empty, full = ~flat.any(1), flat.all(1)
    masks[empty, top : top + 2, left : left + 2] = True
    rows = torch.tensor([0, 0, height - 1, height - 1], device=masks.device)
    columns = torch.tensor([0, width - 1, 0, width - 1], device=masks.device)
    for index in full.nonzero().flatten().tolist():
        masks[index, rows, columns] = False
    return masks
