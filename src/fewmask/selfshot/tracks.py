"""What the transformer predicts for a clip, and what it is taught with: n slots, each one object over T frames."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fewmask.selfshot.boxes import masks_to_boxes, xyxy_to_cxcywh

FOREGROUND, BACKGROUND = 0, 1
"""The two classes: an instance common to query and supports, or none."""


@dataclass(frozen=True)
class SlotPrediction:
    """Class and box of every slot in every frame, from one decoder layer.

    Attributes:
        class_logits: [T, n, 2], foreground and background.
        boxes: [T, n, 4], centre, width, height in (0, 1) of the frame.
    """

    class_logits: Tensor
    boxes: Tensor

    @property
    def foreground(self) -> Tensor:
        """Probability of being a common instance, [T, n]."""
        return self.class_logits.softmax(-1)[..., FOREGROUND]


@dataclass(frozen=True)
class ClipPrediction:
    """The last decoder layer's slots with their masks, and the earlier layers' for auxiliary losses.

    Attributes:
        slots: class and box of the last layer.
        masks: draws the mask logits of m chosen slots, int64 [m] -> [m, T, h, w] at the mask head's stride. Most slots
            are empty and their masks nobody's concern.
        auxiliary: the earlier layers' slots, first layer first.
        common: logits [T, h, w] at stride 16 that a cell shows a common instance; None where the network has no such
            score.
    """

    slots: SlotPrediction
    masks: Callable[[Tensor], Tensor]
    auxiliary: tuple[SlotPrediction, ...]
    common: Tensor | None = None


@dataclass(frozen=True)
class ClipTargets:
    """The G annotated instances of a clip.

    Attributes:
        boxes: [G, T, 4], centre, width, height in (0, 1); zeros in frames without the object.
        present: bool [G, T], whether the object is visible in the frame.
        masks: bool [G, T, H, W].
    """

    boxes: Tensor
    present: Tensor
    masks: Tensor

    @classmethod
    def from_masks(cls, masks: Tensor) -> "ClipTargets":
        """Targets from bitmaps alone, bool [G, T, H, W]; a frame without pixels counts as absent."""
        height, width = masks.shape[-2:]
        present = masks.flatten(2).any(-1)
        corners = masks_to_boxes(masks)
        # Inclusive pixel indices to edges: the right and lower edges lie one pixel further.
        corners[..., 2:] += 1
        scale = torch.tensor([width, height, width, height], dtype=corners.dtype, device=masks.device)
        return cls(xyxy_to_cxcywh(corners / scale) * present[..., None], present, masks)
