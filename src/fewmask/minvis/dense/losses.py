"""What the one-stage segmenter is taught: scores, names, masks and identities.

Objectness is a quality focal loss (Li et al. 2020): a voice's target is the IoU of its present mask, a silent place's
is 0, and a place in an unknown region is not judged. Masks: Dice plus binary cross-entropy over the whole frame, so
that a kernel learns to be silent everywhere else. Identities: a contrastive loss over the voices of the batch, in which
two views of a picture or two frames of a video share objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.minvis.dense.assignment import candidates, choose
from fewmask.minvis.dense.network import PIXEL_STRIDE, DensePrediction

TEMPERATURE = 0.1
COARSE = 2  # the assignment compares masks at this many pixels of the embedding


@dataclass(frozen=True)
class DenseTargets:
    """Objects of one image.

    Attributes:
        masks: bool [n, H, W] at input size.
        labels: long [n]; -1 = object of unknown class.
        identities: long [n]: equal in two images of the batch for the same object.
        unknown: bool [H, W]: may hold objects that ``masks`` lacks.
    """

    masks: Tensor
    labels: Tensor
    identities: Tensor
    unknown: Tensor


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses in the total."""

    objectness: float = 1.0
    classes: float = 0.5
    dice: float = 2.0
    cross_entropy: float = 1.0
    identity: float = 0.25


@dataclass(frozen=True)
class _Voices:
    """Voices of one image: places, objects, their mask IoU now, and what they say."""

    places: Tensor
    objects: Tensor
    overlap: Tensor
    dice: Tensor
    cross_entropy: Tensor


def dense_loss(found: DensePrediction, targets: Sequence[DenseTargets], weights: LossWeights) -> dict[str, Tensor]:
    """Losses of a batch and their weighted ``total``."""
    target = torch.zeros_like(found.objectness, dtype=torch.float32)
    judged = torch.ones_like(target)
    dice, cross_entropy, names, name_targets, vectors, identities, shares = [], [], [], [], [], [], []
    places = (found.places[:, :2] / found.places.new_tensor(1.0)).long()
    for image, truth in enumerate(targets):
        judged[image] = (~truth.unknown[places[:, 1], places[:, 0]]).float()
        if not len(truth.labels):
            continue
        voices = _voices(found, image, truth)
        target[image, voices.places] = voices.overlap.clamp(min=0.1)
        judged[image, voices.places] = 1.0
        # Every object counts the same however many places speak for it; good voices count more.
        count = torch.zeros(len(truth.labels), device=target.device).index_add_(
            0, voices.objects, torch.ones_like(voices.overlap)
        )
        share = 1 / count[voices.objects]
        dice.append(voices.dice)
        cross_entropy.append(voices.cross_entropy)
        shares.append(share)
        labels = truth.labels[voices.objects]
        known = labels >= 0
        names.append(found.classes[image, voices.places[known]])
        name_targets.append(labels[known])
        vectors.append(found.identities[image, voices.places])
        identities.append(truth.identities[voices.objects])
    zero = found.objectness.float().sum() * 0.0
    losses = {"objectness": quality_focal(found.objectness.float(), target, judged)}
    if shares:
        share = torch.cat(shares)
        total = share.sum()
        losses["dice"] = (torch.cat(dice) * share).sum() / total
        losses["cross_entropy"] = (torch.cat(cross_entropy) * share).sum() / total
        losses["identity"] = contrast(torch.cat(vectors).float(), torch.cat(identities))
        name_target = torch.cat(name_targets)
        losses["classes"] = (
            functional.cross_entropy(torch.cat(names).float(), name_target) if len(name_target) else zero
        )
    else:
        losses |= dict.fromkeys(("dice", "cross_entropy", "identity", "classes"), zero)
    losses["total"] = zero + sum(getattr(weights, name) * value for name, value in losses.items())
    return losses


def quality_focal(logits: Tensor, target: Tensor, judged: Tensor) -> Tensor:
    """|target - p|^2 x cross-entropy, summed over judged places, per unit of target."""
    gap = (target - logits.sigmoid().detach()).abs().square()
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (gap * entropy * judged).sum() / target.sum().clamp(min=1.0)


def contrast(vectors: Tensor, identities: Tensor) -> Tensor:
    """Mean over voices of -log of the share that the voices of the same object have in all others' similarity."""
    if len(vectors) < 2:
        return vectors.sum() * 0.0
    unit = functional.normalize(vectors, dim=1)
    logits = unit @ unit.T / TEMPERATURE
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    same = (identities[:, None] == identities[None]) & ~itself
    partner = same.any(1)
    if not bool(partner.any()):
        return vectors.sum() * 0.0
    log_share = logits - torch.logsumexp(logits.masked_fill(itself, float("-inf")), 1, keepdim=True)
    mean = log_share.masked_fill(~same, 0.0).sum(1) / same.sum(1).clamp(min=1)
    return -mean[partner].mean()


def shrunk(masks: Tensor, stride: int) -> Tensor:
    """Masks bool [n, H, W] as the share that each cell of stride x stride pixels has of them: [n, H/s, W/s]."""
    return functional.avg_pool2d(masks[None].float(), stride)[0]


def _voices(found: DensePrediction, image: int, truth: DenseTargets) -> _Voices:
    """Assign the places of one image and judge their masks."""
    pixels = found.pixels[image].float()
    fine = shrunk(truth.masks, PIXEL_STRIDE)
    allowed = candidates(truth.masks, found.places)
    some = allowed.any(0).nonzero().flatten()
    with torch.no_grad():
        coarse_pixels = pixels[:, ::COARSE, ::COARSE]
        coarse = fine[:, ::COARSE, ::COARSE]
        masks = _logits(found.kernels[image, some].float(), coarse_pixels).sigmoid()
        overlap = soft_iou(coarse, masks)
        everywhere = torch.zeros(allowed.shape, device=overlap.device)
        everywhere[:, some] = overlap
        chosen = choose(allowed, found.objectness[image].float().sigmoid(), everywhere)
    logits = _logits(found.kernels[image, chosen.places].float(), pixels).flatten(1)
    wanted = fine[chosen.objects].flatten(1)
    probability = logits.sigmoid()
    dice = 1 - (2 * (probability * wanted).sum(1) + 1) / (probability.square().sum(1) + wanted.square().sum(1) + 1)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    # A small object's pixels would drown in the rest of the frame: inside and outside weigh the same, within limits.
    inside = wanted.mean(1, keepdim=True).clamp(0.02, 0.5)
    balance = torch.where(wanted > 0.5, 0.5 / inside, 0.5 / (1 - inside))
    with torch.no_grad():
        hard, true = (logits > 0).float(), (wanted > 0.5).float()
        both = (hard * true).sum(1)
        iou = both / (hard.sum(1) + true.sum(1) - both).clamp(min=1)
    return _Voices(chosen.places, chosen.objects, iou, dice, (entropy * balance).mean(1))


def soft_iou(truth: Tensor, masks: Tensor) -> Tensor:
    """IoU [n, m] of truths [n, h, w] and mask probabilities [m, h, w]."""
    a, b = truth.flatten(1), masks.flatten(1)
    both = a @ b.T
    return both / (a.sum(1)[:, None] + b.sum(1)[None] - both).clamp(min=1e-3)


def _logits(kernels: Tensor, pixels: Tensor) -> Tensor:
    return (kernels @ pixels.flatten(1)).view(len(kernels), *pixels.shape[1:])
