"""The set criterion of Mask2Former and MinVIS: Hungarian matching and losses on sampled points (MinVIS section 3.2).

Notable choices:
- Every random point comes from a `PointSource`, one call per image, so that a batch split over processes draws the
  same points as the whole batch in one process, and a test can replay recorded points.
- Normalisers (number of masks, sum of class weights) are sums over all processes; gradients averaged over
  processes then equal those of one process with the whole batch.
- Costs and losses are float32 whatever the network's precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn


@dataclass(frozen=True)
class InstanceTargets:
    """Ground truth of one image: ``labels`` long [n] and ``masks`` bool or float [n, H, W] of its visible instances."""

    labels: Tensor
    masks: Tensor


@dataclass(frozen=True)
class QueryPrediction:
    """One layer's heads: ``class_logits`` [B, Q, K+1] (last column: no object) and ``mask_logits`` [B, Q, h, w]."""

    class_logits: Tensor
    mask_logits: Tensor


class PointSource(Protocol):
    """Draws uniform positions (x, y) in [0, 1]^2: ``count`` sets of ``points`` for image number ``image``."""

    def __call__(self, image: int, count: int, points: int) -> Tensor:
        """Float32 [count, points, 2]."""
        ...


class SeededPoints:
    """Points from one generator per image, on the CPU so that every device sees the same ones."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._device = device

    def __call__(self, image: int, count: int, points: int) -> Tensor:
        """Float32 [count, points, 2] on the device."""
        return torch.rand(count, points, 2, generator=self._generators[image]).to(self._device)


@dataclass(frozen=True)
class CriterionSettings:
    """Weights and point counts; the defaults are the paper's and its code's."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    points: int = 12544
    oversample: float = 3.0  # candidates drawn per kept point
    uncertain_share: float = 0.75  # share of kept points that are the most uncertain candidates


class SetCriterion(nn.Module):
    """Matches queries to instances and sums the weighted losses of every supervised layer.

    Args:
        num_classes: K, without the no-object class.
        settings: weights and point counts.
    """

    empty_weight: Tensor

    def __init__(self, num_classes: int, settings: CriterionSettings | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.settings = settings or CriterionSettings()
        weight = torch.ones(num_classes + 1)
        weight[-1] = self.settings.no_object_weight
        self.register_buffer("empty_weight", weight)

    def forward(
        self, layers: Sequence[QueryPrediction], targets: Sequence[InstanceTargets], points: PointSource
    ) -> dict[str, Tensor]:
        """Unweighted losses summed over the layers, and their weighted ``total``.

        Args:
            layers: predictions of all supervised layers, in any order.
            targets: one entry per image.
            points: where masks are compared.

        Returns:
            Scalars ``class``, ``mask``, ``dice`` and ``total``.
        """
        num_masks = _sum_over_processes(layers[0].mask_logits.new_tensor(float(sum(len(t.labels) for t in targets))))
        num_masks = (num_masks / _processes()).clamp(min=1.0)
        sums = {name: layers[0].class_logits.new_zeros((), dtype=torch.float32) for name in ("class", "mask", "dice")}
        for layer in layers:
            matches = self.match(layer, targets, points)
            sums["class"] = sums["class"] + self._class_loss(layer, targets, matches)
            mask, dice = self._mask_losses(layer, targets, matches, points)
            sums["mask"] = sums["mask"] + mask / num_masks
            sums["dice"] = sums["dice"] + dice / num_masks
        s = self.settings
        total = s.class_weight * sums["class"] + s.mask_weight * sums["mask"] + s.dice_weight * sums["dice"]
        return {**sums, "total": total}

    def match(
        self, layer: QueryPrediction, targets: Sequence[InstanceTargets], points: PointSource
    ) -> list[tuple[Tensor, Tensor]]:
        """Per image the matched (query indices, target indices), by ascending query index."""
        matches = []
        for image, target in enumerate(targets):
            cost = self.matching_cost(layer, image, target, points)
            rows, columns = linear_sum_assignment(cost.cpu().numpy())
            matches.append((torch.as_tensor(rows), torch.as_tensor(columns)))
        return matches

    @torch.no_grad()
    def matching_cost(self, layer: QueryPrediction, image: int, target: InstanceTargets, points: PointSource) -> Tensor:
        """Weighted cost float32 [Q, n] of image ``image``: class, cross entropy and Dice on shared points."""
        s = self.settings
        where = points(image, 1, s.points)
        probability = layer.class_logits[image].float().softmax(-1)
        class_cost = -probability[:, target.labels]
        predicted = sample_points(layer.mask_logits[image].float()[None], where)[0]  # [Q, P]
        wanted = sample_points(target.masks.to(predicted.dtype)[None], where)[0]  # [n, P]
        positive = F.softplus(-predicted)  # cross entropy against 1
        negative = F.softplus(predicted)  # cross entropy against 0
        mask_cost = (positive @ wanted.T + negative @ (1 - wanted).T) / predicted.shape[1]
        inside = predicted.sigmoid()
        dice_cost = 1 - (2 * inside @ wanted.T + 1) / (inside.sum(-1)[:, None] + wanted.sum(-1)[None] + 1)
        cost = s.class_weight * class_cost + s.mask_weight * mask_cost + s.dice_weight * dice_cost
        # A diverged network must fail in the loss, where it is reported, not inside the assignment solver.
        return cost.nan_to_num(nan=1e6, posinf=1e6, neginf=-1e6)

    def _class_loss(
        self, layer: QueryPrediction, targets: Sequence[InstanceTargets], matches: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        logits = layer.class_logits.float()
        labels = torch.full(logits.shape[:2], self.num_classes, dtype=torch.long, device=logits.device)
        for image, (queries, indices) in enumerate(matches):
            labels[image, queries] = targets[image].labels[indices]
        losses = F.cross_entropy(logits.transpose(1, 2), labels, self.empty_weight, reduction="sum")
        return losses / (_sum_over_processes(self.empty_weight[labels].sum()) / _processes())

    def _mask_losses(
        self,
        layer: QueryPrediction,
        targets: Sequence[InstanceTargets],
        matches: list[tuple[Tensor, Tensor]],
        points: PointSource,
    ) -> tuple[Tensor, Tensor]:
        """Sums over matched masks of the mean cross entropy and of Dice, on mostly uncertain points."""
        # An image without targets still touches the graph: every process must take part in the backward pass.
        mask_sum = layer.mask_logits.float().sum() * 0.0
        dice_sum = mask_sum.clone()
        s = self.settings
        kept = int(s.uncertain_share * s.points)
        for image, (queries, indices) in enumerate(matches):
            if len(queries) == 0:
                continue
            predicted = layer.mask_logits[image][queries].float()[:, None]  # [n, 1, h, w]
            wanted = targets[image].masks[indices].to(predicted.dtype)[:, None]
            with torch.no_grad():
                candidates = points(image, len(queries), int(s.oversample * s.points))
                uncertainty = -sample_points(predicted, candidates)[:, 0].abs()  # [n, 3P]
                best = uncertainty.topk(kept, dim=1).indices
                where = torch.cat(
                    (
                        candidates.gather(1, best[..., None].expand(-1, -1, 2)),
                        points(image, len(queries), s.points - kept),
                    ),
                    dim=1,
                )
                labels = sample_points(wanted, where)[:, 0]
            logits = sample_points(predicted, where)[:, 0]  # [n, P]
            mask_sum = mask_sum + F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1).sum()
            dice_sum = dice_sum + dice_loss(logits, labels).sum()
        return mask_sum, dice_sum


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice with +1 smoothing per row: logits and labels [N, P] -> [N]. VIPMT's Dice is another function."""
    inside = logits.sigmoid()
    return 1 - (2 * (inside * labels).sum(-1) + 1) / (inside.sum(-1) + labels.sum(-1) + 1)


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of ``maps`` [N, C, H, W] at ``points`` [N, P, 2] (x, y in [0, 1]): [N, C, P]; zero outside."""
    return F.grid_sample(maps, 2 * points[:, :, None] - 1, align_corners=False)[..., 0]


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _sum_over_processes(value: Tensor) -> Tensor:
    if _processes() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total
