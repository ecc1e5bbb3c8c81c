"""The background loss L_I: cross entropy between predicted background and the selected masks (Eq. 3, 12-16)."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from fewmask.errors import ConfigError, DatasetError

Reduction = Literal["mean", "sum"]

_CHUNK = 1 << 14  # pixels worked on at a time: they stay in the cache
SMALLEST_PROBABILITY = 1e-6  # the paper is silent; without a floor one saturated pixel makes every cost infinite


def background_loss(
    selected: npt.NDArray[np.bool_], background: npt.NDArray[np.floating], reduction: Reduction = "mean"
) -> float:
    """L_I of Eq. 3 for one frame.

    Args:
        selected: bool [H, W], the union of the selected masks.
        background: probability [H, W] in [0, 1] that a pixel is background; clipped to [1e-6, 1 - 1e-6].
        reduction: "mean" over pixels (default) or the printed "sum".

    Raises:
        DatasetError: the background map is not [H, W] probabilities of the size of the mask.
        ConfigError: ``reduction`` is another word.
    """
    p = clipped(checked(background, selected.shape))
    total = -float(np.where(selected, np.log1p(-p), np.log(p)).sum())
    return total / divisor(p.size, reduction)


def checked(background: npt.NDArray[np.floating], size: tuple[int, ...]) -> npt.NDArray[np.floating]:
    """The background map, if it holds one probability per pixel.

    Raises:
        DatasetError: another size than ``size``, values outside [0, 1], or NaN.
    """
    p = np.asarray(background)
    if p.ndim != 2 or p.shape != tuple(size):
        raise DatasetError(f"background map has shape {p.shape}, the masks have {tuple(size)}; one value a pixel")
    if p.size == 0:
        raise DatasetError("background map has no pixels; give at least 1x1")
    low, high = float(p.min()), float(p.max())
    if not (low >= 0 and high <= 1):
        raise DatasetError(f"background map spans [{low}, {high}]; give probabilities in [0, 1] without NaN")
    return p


def clipped(background: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The probabilities as float64 within [1e-6, 1 - 1e-6]."""
    return background.astype(np.float64).clip(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)


def divisor(pixels: int, reduction: str) -> int:
    """What a pixel sum is divided by: the number of pixels for "mean", one for "sum"."""
    if reduction == "mean":
        return pixels
    if reduction == "sum":
        return 1
    raise ConfigError(f"reduction {reduction!r} is unknown; use 'mean' or 'sum'")


@dataclass(frozen=True)
class PixelEvidence:
    """L_I taken apart: selecting a set of pixels costs ``empty_cost`` - Σ gains / 2^shift, as a pixel sum.

    Attributes:
        gains: log(1 - p) - log p, what a pixel saves when it is selected; int64 [H, W] in units of 2^-shift.
        shift: chosen so that the sum over the frame fits 64 bits.
        empty_cost: -Σ log p, the loss when nothing is selected.
    """

    gains: npt.NDArray[np.int64]
    shift: int
    empty_cost: float


def pixel_evidence(background: npt.NDArray[np.floating]) -> PixelEvidence:
    """The evidence of every pixel of a checked background map [H, W].

    Integers make every sum over pixels exact, so equal costs compare equal whatever the order of the masks. The
    rounding, at most 2^-(shift+1) a pixel, is below 2e-11 for a 4K frame.
    """
    largest = -math.log(SMALLEST_PROBABILITY) + 1
    shift = 61 - math.ceil(math.log2(largest * background.size))
    flat = background.reshape(-1)
    gains = np.empty(flat.size, dtype=np.int64)
    sums = []
    for start in range(0, flat.size, _CHUNK):
        p = clipped(flat[start : start + _CHUNK])
        log_p = np.log(p)
        sums.append(float(log_p.sum()))
        gains[start : start + _CHUNK] = np.rint((np.log(1 - p) - log_p) * float(1 << shift))
    return PixelEvidence(gains.reshape(background.shape), shift, -math.fsum(sums))
