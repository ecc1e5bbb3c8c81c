"""Sine position codes (Vaswani et al., per axis as DETR has them)."""

import math

import torch
from torch import Tensor


def sine_code(coordinates: Tensor, channels: int, *, temperature: float = 10_000.0) -> Tensor:
    """Interleaved sine and cosine of ``coordinates`` (any shape, radians) at ``channels`` / 2 frequencies.

    Returns:
        [..., channels]: entry 2i is sin(x / temperature^(2i / channels)), entry 2i+1 its cosine.
    """
    steps = torch.arange(channels // 2, dtype=coordinates.dtype, device=coordinates.device)
    angles = coordinates[..., None] / temperature ** (2 * steps / channels)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


def sine_position_2d(height: int, width: int, channels: int, *, like: Tensor) -> Tensor:
    """Code [channels, height, width] of a grid, rows in the first half of the channels, columns in the second.

    Positions run from 1 to the size and are scaled so that the last one is 2 pi. Dtype and device are ``like``'s.
    """
    eps = 1e-6

    def axis(length: int) -> Tensor:
        steps = torch.arange(1, length + 1, dtype=like.dtype, device=like.device)
        return sine_code(steps / (length + eps) * 2 * math.pi, channels // 2)

    rows = axis(height)[:, None].expand(height, width, -1)
    columns = axis(width)[None].expand(height, width, -1)
    return torch.cat((rows, columns), dim=-1).permute(2, 0, 1).contiguous()
