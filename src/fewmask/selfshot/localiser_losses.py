"""Which slot takes which true stretch, and what its errors cost: eq. 8 and 9 on a line in place of a picture."""

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from fewmask.selfshot.localiser import StretchPrediction

L1, OVERLAP, FOREGROUND = 5.0, 2.0, 1.0
"""Weights as for boxes (`matching.MatchingWeights`)."""
NO_ACTION = 0.2


class StretchTargets(NamedTuple):
    """True stretches of a query: centre and length as shares of the video, [G, 2]; which rows they cover, bool [L]."""

    spans: Tensor
    rows: Tensor

    @classmethod
    def of(cls, stretches: Tensor, rows: int) -> "StretchTargets":
        """From starts and ends as shares of the video [G, 2]; a row is covered if its middle is."""
        middle = (torch.arange(rows) + 0.5) / rows
        covered = ((stretches[:, :1] <= middle) & (middle < stretches[:, 1:])).any(0)
        return cls(torch.stack([stretches.mean(1), stretches[:, 1] - stretches[:, 0]], 1), covered)


def span_giou(rows: Tensor, columns: Tensor) -> Tensor:
    """Generalised IoU in (-1, 1] of every pair of stretches [R, 2] and [C, 2], given by centre and length: [R, C]."""
    low_r, high_r = rows[:, 0] - rows[:, 1] / 2, rows[:, 0] + rows[:, 1] / 2
    low_c, high_c = columns[:, 0] - columns[:, 1] / 2, columns[:, 0] + columns[:, 1] / 2
    shared = (torch.minimum(high_r[:, None], high_c) - torch.maximum(low_r[:, None], low_c)).clamp(min=0)
    union = rows[:, None, 1] + columns[:, 1] - shared
    hull = torch.maximum(high_r[:, None], high_c) - torch.minimum(low_r[:, None], low_c)
    return shared / (union + 1e-6) - (hull - union) / (hull + 1e-6)


@torch.no_grad()
def match_stretches(prediction: StretchPrediction, spans: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest assignment: slots and the true stretches they take, both int64 [min(n, G)]."""
    cost = L1 * torch.cdist(prediction.spans, spans, p=1) / 2 - OVERLAP * span_giou(prediction.spans, spans)
    cost = cost - FOREGROUND * prediction.logits.sigmoid()[:, None]
    slots, stretches = linear_sum_assignment(cost.float().cpu().numpy())
    device = spans.device
    return torch.as_tensor(slots, device=device), torch.as_tensor(stretches, device=device)


def stretch_losses(prediction: StretchPrediction, targets: StretchTargets) -> dict[str, Tensor]:
    """Of one video: slots' scores, L1 and GIoU of matched spans, which rows are common; and their sum, ``total``."""
    slots, stretches = match_stretches(prediction, targets.spans)
    wanted = torch.zeros_like(prediction.logits)
    wanted[slots] = 1.0
    weight = torch.where(wanted > 0, 1.0, NO_ACTION)
    losses = {
        "class": (
            functional.binary_cross_entropy_with_logits(prediction.logits, wanted, reduction="none") * weight
        ).sum()
        / weight.sum(),
        "common": functional.binary_cross_entropy_with_logits(prediction.common, targets.rows.to(wanted.dtype)),
    }
    found, true = prediction.spans[slots], targets.spans[stretches]
    count = max(1, len(slots))
    losses["l1"] = L1 * (found - true).abs().mean(1).sum() / count
    losses["giou"] = OVERLAP * (1 - span_giou(found, true).diagonal()).sum() / count
    losses["total"] = torch.stack(list(losses.values())).sum()
    return losses
