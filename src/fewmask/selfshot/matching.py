"""Which slot takes which annotated instance: one assignment for the whole clip, by class and boxes (eq. 8)."""

from dataclasses import dataclass
from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fewmask.selfshot.boxes import box_iou, cxcywh_to_xyxy, generalized_box_iou
from fewmask.selfshot.tracks import ClipTargets, SlotPrediction


@dataclass(frozen=True)
class MatchingWeights:
    """What a poor class, a distant box and a poor overlap cost.

    Attributes:
        foreground: weight of the mean foreground probability.
        l1: weight of the mean coordinate difference.
        overlap: weight of the mean overlap.
        overlap_kind: "iou" as released, "giou" as the paper writes.
    """

    foreground: float = 1.0
    l1: float = 5.0
    overlap: float = 2.0
    overlap_kind: Literal["iou", "giou"] = "iou"


@dataclass(frozen=True)
class Assignment:
    """Slot ``slots[i]`` takes instance ``targets[i]`` in all frames; both int64 [M], M = min(n, G)."""

    slots: Tensor
    targets: Tensor

    def frames(self, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The matched (frame, slot, target) triples in which the target is visible.

        The visibility row is that of the matched target; taking the row by its place in the list, as a widely copied
        implementation does, gives instances the frames of others.

        Args:
            present: bool [G, T].

        Returns:
            Three int64 tensors of one length, frames fastest.
        """
        pair, frame = present[self.targets].nonzero(as_tuple=True)
        return frame, self.slots[pair], self.targets[pair]


def sequence_cost(prediction: SlotPrediction, targets: ClipTargets, weights: MatchingWeights) -> Tensor:
    """Cost of giving slot i instance j: means over all frames, those without the object included.

    Returns:
        float [n, G]
    """
    truth = targets.boxes.transpose(0, 1)  # [T, G, 4]
    l1 = (prediction.boxes[:, :, None] - truth[:, None]).abs().mean((0, 3))
    corners, true_corners = cxcywh_to_xyxy(prediction.boxes), cxcywh_to_xyxy(truth)
    if weights.overlap_kind == "iou":
        overlap = box_iou(corners, true_corners)[0]
    else:
        overlap = generalized_box_iou(corners, true_corners)
    foreground = prediction.foreground.mean(0)[:, None]
    return weights.l1 * l1 - weights.foreground * foreground - weights.overlap * overlap.mean(0)


@torch.no_grad()
def match_sequences(
    prediction: SlotPrediction, targets: ClipTargets, weights: MatchingWeights | None = None
) -> Assignment:
    """The cheapest one-to-one assignment of slots to instances, in order of slots."""
    cost = sequence_cost(prediction, targets, weights or MatchingWeights())
    slots, instances = linear_sum_assignment(cost.float().cpu().numpy())
    device = cost.device
    return Assignment(torch.as_tensor(slots, device=device), torch.as_tensor(instances, device=device))
