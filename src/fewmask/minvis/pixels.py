"""From RGB frames to a network's input: resized with antialiasing, normalised, padded."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from fewmask.errors import VideoError
from fewmask.media.stage_times import stage

Frames: TypeAlias = npt.NDArray[np.uint8] | Tensor

SIZE_DIVISOR = 32  # the deepest feature map has stride 32
DEFAULT_SHORT_SIDE = 360  # YouTube-VIS test size with ResNet-50; Swin-L uses 480
DEFAULT_MAX_SIZE = 1333


@dataclass(frozen=True, slots=True)
class PixelNormalisation:
    """Per-channel mean and standard deviation of RGB values in 0..255."""

    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)


def resized_size(height: int, width: int, short_side: int | None, max_size: int) -> tuple[int, int]:
    """(H, W) with the shorter side at ``short_side``, the longer at most ``max_size``; halves round up."""
    if short_side is None:
        return height, width
    scale = min(short_side / min(height, width), max_size / max(height, width))
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def prepare_pixels(
    frames: Frames,
    normalisation: PixelNormalisation,
    *,
    short_side: int | None,
    max_size: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, tuple[int, int]]:
    """Frames as network input [T, 3, H, W]: resized, normalised, then zero-padded at the bottom and right.

    Returns:
        The input, its sides multiples of 32, and the (H, W) of the frame inside.

    Raises:
        VideoError: frames are not uint8 [T, H, W, 3].
    """
    with stage("resize"):
        images = as_images(frames, device)
        size = resized_size(images.shape[-2], images.shape[-1], short_side, max_size)
        pixels = normalise(resize(images, size), normalisation, dtype)
        pad_bottom, pad_right = -size[0] % SIZE_DIVISOR, -size[1] % SIZE_DIVISOR
        return functional.pad(pixels, (0, pad_right, 0, pad_bottom)), size


def as_images(frames: Frames, device: torch.device) -> Tensor:
    """Frames uint8 [T, H, W, 3] as uint8 [T, 3, H, W].

    Raises:
        VideoError: frames are something else.
    """
    tensor = torch.as_tensor(frames)
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[-1] != 3 or 0 in tensor.shape:
        raise VideoError(f"frames must be uint8 [T, H, W, 3] in RGB, got {tensor.dtype} {list(tensor.shape)}")
    return tensor.to(device).permute(0, 3, 1, 2)


def normalise(images: Tensor, normalisation: PixelNormalisation, dtype: torch.dtype) -> Tensor:
    """Pixels 0..255 [T, 3, H, W] to zero mean and unit variance, as ``dtype``."""
    # Official weights come with float32 statistics; a float64 run that rounds them differently can flip a gate.
    mean = torch.tensor(normalisation.mean, dtype=torch.float32).to(images.device, dtype).view(3, 1, 1)
    std = torch.tensor(normalisation.std, dtype=torch.float32).to(images.device, dtype).view(3, 1, 1)
    return (images.to(dtype) - mean) / std


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images uint8 [T, 3, H, W] at (H, W) ``size``: bilinear with antialiasing, in 8 bits as image libraries do."""
    if size == tuple(images.shape[-2:]):
        return images
    if images.device.type == "cpu":
        return functional.interpolate(images, size, mode="bilinear", antialias=True)
    smooth = functional.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return smooth.round().clamp(0, 255).to(torch.uint8)
