"""Frames with masks, encoded once for all clips that look at them: supports and memory."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Exemplars:
    """Frames with masks, encoded once: supports or memory. N frames, C channels, token grid h x w."""

    tokens: Tensor
    """F^s or F^m, [N, C, h, w]."""
    prototypes: Tensor
    """Masked averages p_i of the adjusted features, [N, C]."""
    masks: Tensor
    """O^s or O^m on the token grid as attention sees them, bool [N, h, w], never empty or full."""
    regions: tuple[Tensor, ...]
    """Pooled X4 of each frame's foreground tokens, [n_i, P]."""

    def __len__(self) -> int:
        return len(self.masks)

    def take(self, indices: list[int]) -> Self:
        """The frames at ``indices``, in that order."""
        return type(self)(
            self.tokens[indices], self.prototypes[indices], self.masks[indices], tuple(self.regions[i] for i in indices)
        )

    @staticmethod
    def join(parts: list["Exemplars"]) -> "Exemplars":
        """All frames of ``parts``, in order."""
        return Exemplars(
            torch.cat([part.tokens for part in parts]),
            torch.cat([part.prototypes for part in parts]),
            torch.cat([part.masks for part in parts]),
            tuple(region for part in parts for region in part.regions),
        )
