"""Pictures of any size into the network's one size and masks back: aspect kept, black bars, ImageNet normalisation."""

from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from fewmask.vipmt.token_masks import STRIDE, to_tokens

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Letterbox:
    """How pictures of ``source`` (height, width) sit centred in frames of ``target``."""

    source: tuple[int, int]
    target: tuple[int, int]
    top: int
    left: int
    height: int
    width: int

    @classmethod
    def fit(cls, source: tuple[int, int], target: tuple[int, int]) -> Self:
        """The largest placement that keeps the aspect ratio."""
        scale = min(target[0] / source[0], target[1] / source[1])
        height = min(max(round(source[0] * scale), 1), target[0])
        width = min(max(round(source[1] * scale), 1), target[1])
        return cls(source, target, (target[0] - height) // 2, (target[1] - width) // 2, height, width)

    def image(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, 3] -> uint8 [target, 3] with black bars."""
        shrinking = self.height < self.source[0]
        placed = np.zeros((*self.target, 3), dtype=np.uint8)
        placed[self._inside] = self._resize(rgb, cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
        return placed

    def mask(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Bool [H, W] -> bool [target]; a small object that sampling would lose keeps the tokens it touches."""
        placed = np.zeros(self.target, dtype=np.uint8)
        placed[self._inside] = self._resize(mask.astype(np.uint8), cv2.INTER_NEAREST)
        if mask.any() and not to_tokens(torch.from_numpy(placed)).any():
            placed[:] = self._touched_tokens(mask)
        return placed.astype(bool)

    def restore(self, maps: Tensor) -> Tensor:
        """Maps [N, target] of the network back to [N, source], bilinearly, bars cut off."""
        inside = maps[:, self.top : self.top + self.height, self.left : self.left + self.width]
        if tuple(inside.shape[1:]) == self.source:
            return inside
        return functional.interpolate(inside[:, None], size=self.source, mode="bilinear", align_corners=False)[:, 0]

    @property
    def _inside(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def _resize(self, picture: npt.NDArray[Any], interpolation: int) -> npt.NDArray[Any]:
        if picture.shape[:2] == (self.height, self.width):
            return picture
        return np.asarray(cv2.resize(picture, (self.width, self.height), interpolation=interpolation))

    def _touched_tokens(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
        rows, columns = mask.nonzero()
        touched = np.zeros(self.target, dtype=np.uint8)
        rows = (self.top + rows * self.height // self.source[0]) // STRIDE * STRIDE
        columns = (self.left + columns * self.width // self.source[1]) // STRIDE * STRIDE
        touched[rows, columns] = 1
        return touched


def normalise(frames: npt.NDArray[np.uint8]) -> Tensor:
    """uint8 [N, H, W, 3], RGB -> float32 [N, 3, H, W], ImageNet mean 0 and deviation 1."""
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
    deviation = torch.tensor(IMAGENET_STD)[:, None, None]
    return (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255 - mean) / deviation
