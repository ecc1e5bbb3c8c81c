"""VIPMT's training losses (section 4.4, eq 17-18; weights and forms as released)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.vipmt.network import ClipSegmentation
from fewmask.vipmt.token_masks import to_tokens

OUTPUT_WEIGHT, INITIAL_WEIGHT = 0.7, 0.3
QUERY_WEIGHT, EXEMPLAR_WEIGHT = 0.3, 0.7
DICE_EPS = 1e-8


@dataclass(frozen=True)
class SegmentedClip:
    """One item of a batch: the network's result and the truth."""

    result: ClipSegmentation
    masks: Tensor
    """True masks of the T query frames, [T, H, W]."""
    exemplar_masks: Tensor
    """True masks of supports, then memory, [S + M, H', W']."""


@dataclass(frozen=True)
class ClipLosses:
    """Scalars; ``total`` is their plain sum."""

    main: Tensor
    auxiliary: Tensor
    ccds: Tensor
    score: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised for one clip."""
        return self.main + self.auxiliary + self.ccds + self.score


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice on background and foreground: [T, 2, H, W] and bool [T, H, W] -> scalar.

    Each channel has its own sigmoid against the one-hot truth; squares in the denominator. Summed over the two
    channels, averaged over frames: this is not the Dice of Mask2Former.
    """
    inside = masks.to(logits.dtype)
    truth = torch.stack((1 - inside, inside), dim=1).flatten(2)
    p = logits.sigmoid().flatten(2)
    overlap = 2 * (p * truth).sum(-1)
    extent = (p.square().sum(-1) + truth.square().sum(-1)).clamp(min=DICE_EPS)
    return (1 - overlap / extent).sum() / len(logits)


def soft_iou_losses(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """1 - soft IoU of the foreground: mean over frames, and over the whole clip at once; both scalars."""
    p = logits.softmax(1)[:, 1].flatten(1)
    truth = masks.to(logits.dtype).flatten(1)
    overlap, extent = torch.minimum(p, truth).sum(1), torch.maximum(p, truth).sum(1)
    per_frame = (1 - overlap / extent.clamp(min=DICE_EPS)).mean()
    overall = 1 - overlap.sum() / extent.sum().clamp(min=DICE_EPS)
    return per_frame, overall


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice and both IoU terms, for one head."""
    per_frame, overall = soft_iou_losses(logits, masks)
    return dice_loss(logits, masks) + per_frame + overall


def main_loss(clips: Sequence[SegmentedClip]) -> Tensor:
    """Mask losses of the output and of the initial head, mean over the batch."""
    terms = [
        OUTPUT_WEIGHT * mask_loss(clip.result.logits, clip.masks)
        + INITIAL_WEIGHT * mask_loss(clip.result.initial_logits, clip.masks)
        for clip in clips
    ]
    return torch.stack(terms).mean()


def auxiliary_loss(clips: Sequence[SegmentedClip]) -> Tensor:
    """BCE of every iteration's masks on the token grid: clip and frame masks, and masks on supports and memory.

    Memory sits in the exemplar term, as released.
    """
    terms = []
    for clip in clips:
        query, exemplars = to_tokens(clip.masks), to_tokens(clip.exemplar_masks)
        on_query = [bce(m, query) for maps in clip.result.iterations for m in (maps.clip_logits, maps.frame_logits)]
        on_exemplars = [bce(maps.exemplar_logits, exemplars) for maps in clip.result.iterations]
        terms.append(QUERY_WEIGHT * torch.stack(on_query).mean() + EXEMPLAR_WEIGHT * torch.stack(on_exemplars).mean())
    return torch.stack(terms).mean()


def bce(logits: Tensor, inside: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits against bool masks of the same shape."""
    return functional.binary_cross_entropy_with_logits(logits, inside.to(logits.dtype))


def ccds_loss(
    clips: Sequence[SegmentedClip],
    form: Literal["code", "paper"] = "code",
    on: Literal["adjusted", "merged"] = "adjusted",
) -> Tensor:
    """Cross-category discriminative segmentation loss (eq 17-18).

    Clip b's prototypes must find nothing on the object of clip j, whose class is another one. "paper" averages over
    the ordered pairs, each divided by its own number of object tokens, and sums over the iterations. "code" pools
    the tokens of the whole batch before dividing and averages over the iterations. A batch of one gives 0.

    ``on``: F_j is the adjusted backbone feature, as released, which knows nothing of the class asked for: prototypes
    that are the same for all classes satisfy it. Or, our deviation, "merged": F_0 with j's prototype and prior in it,
    the very tokens on which j's own prototypes must find the object; only prototypes that depend on the class do.
    """
    pairs = [(b, j) for b in range(len(clips)) for j in range(len(clips)) if b != j]
    if not pairs:
        return clips[0].result.logits.new_zeros(())
    features = [clip.result.query.adjusted if on == "adjusted" else clip.result.query.tokens for clip in clips]
    objects = [
        tokens.permute(0, 2, 3, 1)[to_tokens(clip.masks)] for tokens, clip in zip(features, clips, strict=True)
    ]  # [n_j, C] each: F_j restricted to O_j
    sums = [_false_alarm(clips[b].result, objects[j]) for b, j in pairs]
    if form == "paper":
        per_pair = [total / max(len(objects[j]), 1) for total, (_, j) in zip(sums, pairs, strict=True)]
        return torch.stack(per_pair).mean()
    pooled = sum(len(tokens) for tokens in objects)
    iterations = len(clips[0].result.iterations)
    return torch.stack(sums).sum() / max(pooled, 1) / (iterations * (len(clips) - 1))


def _false_alarm(other: ClipSegmentation, objects: Tensor) -> Tensor:
    """Summed BCE against an all-zero mask, of all of ``other``'s clip prototypes on object tokens [n, C]."""
    prototypes = torch.stack([maps.clip_prototype for maps in other.iterations])  # [L, C]
    return functional.softplus(objects @ prototypes.T).sum()


def iou_labels(masks: Tensor, truth: Tensor) -> Tensor:
    """Hard IoU of bool masks [T, H, W] with the truth -> [T].

    Both empty gives 0, as released: a frame without the object is no use as memory.
    """
    truth = truth != 0
    overlap = (masks & truth).flatten(1).sum(1)
    extent = (masks | truth).flatten(1).sum(1)
    return overlap / extent.clamp(min=1)


def score_loss(clips: Sequence[SegmentedClip]) -> Tensor:
    """L1 between predicted and true IoU, summed over a clip's frames, mean over the batch."""
    terms = []
    for clip in clips:
        label = iou_labels(clip.result.masks, clip.masks).to(clip.result.iou_scores.dtype)
        terms.append((clip.result.iou_scores - label).abs().sum())
    return torch.stack(terms).mean()


def clip_losses(
    clips: Sequence[SegmentedClip],
    *,
    ccds: Literal["code", "paper", "off"] = "code",
    ccds_on: Literal["adjusted", "merged"] = "adjusted",
    score: bool = True,
) -> ClipLosses:
    """All losses of a batch of clips of different classes.

    Args:
        clips: one per batch item.
        ccds: form of eq 17-18, or "off" (the rows above "VIPMT" in Table 4).
        ccds_on: the features that eq 17-18 look at; see `ccds_loss`.
        score: whether the IoU network learns from these predictions (its "real" mode).
    """
    main = main_loss(clips)
    zero = main.new_zeros(())
    return ClipLosses(
        main=main,
        auxiliary=auxiliary_loss(clips),
        ccds=zero if ccds == "off" else ccds_loss(clips, ccds, ccds_on),
        score=score_loss(clips) if score else zero,
    )
