"""Instances of single frames from a segmenter's queries, as image Mask2Former scores them.

The score is the class probability times the mean mask probability inside the mask; the video procedure of MinVIS
(`link.py`) leaves the second factor out, streaming takes it in for class-agnostic weights (`stream.py`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewmask.minvis.segmenter import SegmenterOutput


@dataclass(frozen=True)
class FrameInstances:
    """Instances of one frame, best first: ``scores`` [N] in [0, 1], ``labels`` long [N], ``masks`` bool [N, H, W]."""

    scores: Tensor
    labels: Tensor
    masks: Tensor


def frame_instances(output: SegmenterOutput, frame: int, size: tuple[int, int], *, most: int = 100) -> FrameInstances:
    """The best (query, class) pairs of frame number ``frame`` of ``output``, at most ``most``, at ``size`` (H, W).

    Empty masks are left out.
    """
    probability = output.class_queries_logits[frame].softmax(-1)[:, :-1]  # [Q, K]
    scores, pairs = probability.flatten().topk(min(most, probability.numel()))
    queries, labels = pairs // probability.shape[1], pairs % probability.shape[1]
    logits = resize_logits(output.masks_queries_logits[frame, queries], output.padded_size, output.image_size, size)
    masks = logits > 0
    quality = mask_quality(logits)
    scores, order = (scores * quality).sort(descending=True, stable=True)
    order = order[quality[order] > 0]
    return FrameInstances((scores[: len(order)]), labels[order], masks[order])


def mask_quality(logits: Tensor) -> Tensor:
    """Mean mask probability inside each mask of logits [N, h, w]: [N] in (0.5, 1], 0 for an empty mask."""
    inside = logits > 0
    return (logits.sigmoid() * inside).flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(min=1)


def resize_logits(logits: Tensor, padded: tuple[int, int], image: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Mask logits [N, h, w] at ``size``: bilinear to the padded input, padding cropped, bilinear to ``size``."""
    if not len(logits):
        return logits.new_zeros((0, *size), dtype=torch.float32)
    full = F.interpolate(logits[None].float(), padded, mode="bilinear", align_corners=False)
    cropped = full[..., : image[0], : image[1]]
    return F.interpolate(cropped, size, mode="bilinear", align_corners=False)[0]
