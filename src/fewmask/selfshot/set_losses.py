"""The training loss of the transformer: class, box and mask of slots against their instances (eq. 5, 9, 10)."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from fewmask.selfshot.boxes import cxcywh_to_xyxy, generalized_box_iou
from fewmask.selfshot.matching import Assignment, MatchingWeights, match_sequences
from fewmask.selfshot.tracks import BACKGROUND, FOREGROUND, ClipPrediction, ClipTargets, SlotPrediction


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts; the paper prints none, these are the released ones.

    Attributes:
        foreground: cross-entropy of the class.
        l1: box coordinates.
        giou: box overlap.
        focal: mask, per pixel.
        dice: mask, per region.
        common: cells of F, where the network scores them; not in the paper.
        background: how much an empty slot counts in the cross-entropy against a filled one.
        matching: what the assignment looks at.
    """

    foreground: float = 1.0
    l1: float = 5.0
    giou: float = 2.0
    focal: float = 1.0
    dice: float = 1.0
    common: float = 1.0
    background: float = 0.1
    matching: MatchingWeights = field(default_factory=MatchingWeights)


def focal_loss(
    logits: Tensor, targets: Tensor, count: float, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Tensor:
    """Sigmoid focal loss: mean over pixels, summed over masks, divided by ``count``.

    Args:
        logits: [M, P], M masks of P pixels.
        targets: bool or float [M, P].
        count: what the sum is divided by; the released normaliser is instances x frames.
        alpha: weight of foreground pixels, 1 − alpha of background; None weighs them alike.
        gamma: how strongly pixels that are already right are discounted, ≥ 0.
    """
    truth = targets.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid()
    miss = probability * (1 - truth) + (1 - probability) * truth
    loss = entropy * miss**gamma
    if alpha is not None:
        loss = loss * (alpha * truth + (1 - alpha) * (1 - truth))
    return loss.mean(-1).sum() / count


def dice_loss(logits: Tensor, targets: Tensor, count: float) -> Tensor:
    """1 − (2 Σpt + 1) / (Σp + Σt + 1), summed over masks, divided by ``count``.

    Args:
        logits: [M, P].
        targets: bool or float [M, P].
        count: as in ``focal_loss``.
    """
    probability, truth = logits.sigmoid(), targets.to(logits.dtype)
    agreement = (2 * (probability * truth).sum(-1) + 1) / (probability.sum(-1) + truth.sum(-1) + 1)
    return (1 - agreement).sum() / count


def clip_losses(
    prediction: ClipPrediction, targets: ClipTargets, weights: LossWeights | None = None
) -> dict[str, Tensor]:
    """All weighted parts for one clip; their sum is the training loss.

    Slots without an instance, and matched slots in frames where their instance is absent, are taught background
    (the indicator that printed eq. 5 omits). Every decoder layer is matched and taught class and box; the masks come
    from the last layer alone.

    Returns:
        "foreground", "l1", "giou", "focal", "dice", "common" where the network scores cells, and
        "auxiliary/<layer>/<part>" for the earlier layers.
    """
    weights = weights or LossWeights()
    assignment = match_sequences(prediction.slots, targets, weights.matching)
    losses = _slot_losses(prediction.slots, targets, assignment, weights)
    losses |= _mask_losses(prediction.masks(assignment.slots), targets, assignment, weights)
    if prediction.common is not None:
        losses["common"] = weights.common * _common_loss(prediction.common, targets)
    for layer, slots in enumerate(prediction.auxiliary):
        parts = _slot_losses(slots, targets, match_sequences(slots, targets, weights.matching), weights)
        losses |= {f"auxiliary/{layer}/{name}": value for name, value in parts.items()}
    return losses


def _slot_losses(
    prediction: SlotPrediction, targets: ClipTargets, assignment: Assignment, weights: LossWeights
) -> dict[str, Tensor]:
    frames, slots, instances = assignment.frames(targets.present)
    wanted = torch.full(prediction.class_logits.shape[:2], BACKGROUND, device=frames.device)
    wanted[frames, slots] = FOREGROUND
    class_weight = prediction.class_logits.new_tensor([1.0, weights.background])
    entropy = F.cross_entropy(prediction.class_logits.flatten(0, 1), wanted.flatten(), weight=class_weight)
    predicted, truth = prediction.boxes[frames, slots], targets.boxes[instances, frames]
    overlap = generalized_box_iou(cxcywh_to_xyxy(predicted)[:, None], cxcywh_to_xyxy(truth)[:, None])
    count = _normaliser(targets)
    return {
        "foreground": weights.foreground * entropy,
        "l1": weights.l1 * (predicted - truth).abs().sum() / count,
        "giou": weights.giou * (1 - overlap).sum() / count,
    }


def _mask_losses(
    masks: Tensor, targets: ClipTargets, assignment: Assignment, weights: LossWeights
) -> dict[str, Tensor]:
    """Of the masks of the assigned slots, [M, T, h, w], in the order of the assignment."""
    pair, frames = targets.present[assignment.targets].nonzero(as_tuple=True)
    truth = targets.masks[assignment.targets[pair], frames]  # [V, H, W], visible ones
    logits = masks[pair, frames][:, None]
    if len(truth):
        logits = F.interpolate(logits, size=truth.shape[-2:], mode="bilinear", align_corners=False)
    flat, count = logits.flatten(1), _normaliser(targets)
    return {
        "focal": weights.focal * focal_loss(flat, truth.flatten(1), count) if len(truth) else flat.sum(),
        "dice": weights.dice * dice_loss(flat, truth.flatten(1), count) if len(truth) else flat.sum(),
    }


def _common_loss(logits: Tensor, targets: ClipTargets) -> Tensor:
    """Cross-entropy and dice of cells [T, h, w] against the share of each that common instances fill."""
    union = targets.masks.any(0).to(logits.dtype)[:, None]
    share = F.interpolate(union, size=logits.shape[-2:], mode="area")[:, 0]
    entropy = F.binary_cross_entropy_with_logits(logits, share)
    return entropy + dice_loss(logits.flatten()[None], share.flatten()[None], 1)


def _normaliser(targets: ClipTargets) -> float:
    """Instances x frames, frames without the object included, as released."""
    return max(targets.present.numel(), 1)
