"""The sine code of places in a clip: time, row and column, one third of the channels each (Self-Shot 5, stage 1)."""

import math

import torch
from torch import Tensor

from fewmask.errors import ConfigError


def spatio_temporal_sine(
    padding: Tensor, channels: int, *, normalize: bool = True, temperature: float = 10000.0
) -> Tensor:
    """Position code of every cell of a clip's feature map, channel blocks time, row, column.

    Positions count the valid cells along each axis, starting at 1. Within a block, channel pairs are sine and cosine of
    wavelengths that grow from 2π to ``temperature``·2π.

    Args:
        padding: bool [B, T, h, w], true where the cell is padding (it gets a code too, which nothing should read).
        channels: size of the code; divisible by 6, since every axis needs pairs.
        normalize: scale each axis to (0, 2π], so that clips of any size span the same range.
        temperature: ratio of the longest to the shortest wavelength.

    Returns:
        float32 [B, T, channels, h, w]

    Raises:
        ConfigError: ``channels`` is not divisible by 6.
    """
    if channels % 6:
        raise ConfigError(f"a spatio-temporal code needs a width divisible by 6, got {channels}; 288 is the paper's")
    valid = ~padding
    blocks = [_axis_code(valid, axis, channels // 3, normalize, temperature) for axis in (1, 2, 3)]
    return torch.cat(blocks, -1).permute(0, 1, 4, 2, 3)


def _axis_code(valid: Tensor, axis: int, channels: int, normalize: bool, temperature: float) -> Tensor:
    """[B, T, h, w] -> [B, T, h, w, channels]."""
    position = valid.cumsum(axis, dtype=torch.float32)
    if normalize:
        position = position / (position.narrow(axis, -1, 1) + 1e-6) * (2 * math.pi)
    pair = torch.arange(channels // 2, dtype=torch.float32, device=valid.device)
    angle = position[..., None] / temperature ** (2 * pair / channels)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)
