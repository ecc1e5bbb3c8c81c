"""The instance segmenter: attention of an instance over each frame, refined to mask sequences (Section 5, A.3).

What the paper leaves open is filled in so that it can be built at width 288: the mask feature has a = 24 channels; the
result of the paper's inputs (attention maps, E_q, F) is brought from stride 16 to 4 along the backbone's maps; the
deformable convolution comes last, at full mask resolution; the 3-D convolutions have kernel 3 and dilation 2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.selfshot.backbone import Maps


class AttentionMaps(nn.Module):
    """How strongly an instance attends to each cell of its own frame, per head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)

    def forward(self, instances: Tensor, features: Tensor) -> Tensor:
        """D of some slots [T, m, d] and F [T, h, w, d] -> weights [m, T, heads, h, w] that sum to 1 over the frame."""
        query = self.query(instances).unflatten(-1, (self.heads, -1))
        key = self.key(features).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("tmac,thwac->mtahw", query * query.shape[-1] ** -0.5, key)
        return scores.flatten(-2).softmax(-1).view_as(scores)


class DeformableConv(nn.Module):
    """A 3x3 convolution whose taps move by learned offsets (DCNv1); they start at their usual places.

    The values of torchvision's ``deform_conv2d``, from ``grid_sample``: on a CPU a tenth of its time.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(channels, 18, 1)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)  # type: ignore[arg-type]
        self.conv = nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, out, H, W]."""
        height, width = x.shape[-2:]
        # Places need float32: bfloat16 has no halves above 128.
        rows = torch.arange(height, device=x.device, dtype=torch.float32).view(1, 1, -1, 1) + 0.5
        columns = torch.arange(width, device=x.device, dtype=torch.float32).view(1, 1, 1, -1) + 0.5
        taps = torch.arange(-1, 2, device=x.device, dtype=torch.float32)
        shift = torch.unflatten(self.offsets(x).float(), 1, (9, 2))  # rows, columns, [N, 9, 2, H, W]
        y = shift[:, :, 0] + rows + taps.repeat_interleave(3).view(1, 9, 1, 1)
        x_ = shift[:, :, 1] + columns + taps.repeat(3).view(1, 9, 1, 1)
        grid = torch.stack([2 * x_ / width - 1, 2 * y / height - 1], -1).flatten(1, 2)
        seen = torch.unflatten(
            F.grid_sample(x.float(), grid, align_corners=False), 2, (9, height)
        )  # [N, channels, 9, H, W]
        return F.conv2d(seen.flatten(1, 2), self.conv.weight.flatten(1)[:, :, None, None], self.conv.bias)


class MaskHead(nn.Module):
    """Mask logits of some slots over the clip.

    Args:
        width: d of the transformer.
        heads: attention maps per instance.
        backbone_channels: of the maps at strides 4, 8 and 16.
        channels: at strides 16, 8 and 4; divisible by 8.
        mask_channels: a, of the mask feature and the 3-D convolutions; divisible by 8.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        backbone_channels: tuple[int, int, int],
        *,
        channels: tuple[int, int, int],
        mask_channels: int,
    ) -> None:
        super().__init__()
        coarse, middle, fine = channels
        self.attention = AttentionMaps(width, heads)
        # E_q and F are the same for all slots of a frame: their share of the first convolution is computed once.
        self.from_features = nn.Conv2d(2 * width, coarse, 3, padding=1)
        self.from_attention = nn.Conv2d(heads, coarse, 3, padding=1, bias=False)
        self.norm_coarse = nn.GroupNorm(8, coarse)
        self.lateral_middle = nn.Conv2d(backbone_channels[1], coarse, 1)
        self.to_middle = nn.Sequential(nn.Conv2d(coarse, middle, 3, padding=1), nn.GroupNorm(8, middle), nn.ReLU())
        self.lateral_fine = nn.Conv2d(backbone_channels[0], middle, 1)
        self.to_fine = nn.Sequential(nn.Conv2d(middle, fine, 3, padding=1), nn.GroupNorm(8, fine), nn.ReLU())
        self.to_mask_feature = DeformableConv(fine, mask_channels)
        half = mask_channels // 2
        self.over_time = nn.Sequential(
            *_spread_in_time(mask_channels, half), *_spread_in_time(half, half), *_spread_in_time(half, half),
            nn.Conv3d(half, 1, 1),
        )  # fmt: skip

    def forward(self, instances: Tensor, encoded: Tensor, fused: Tensor, maps: Maps) -> Tensor:
        """Mask logits [m, T, H / 4, W / 4].

        Slots are worked through one after another: together their features at stride 4 would not fit.

        Args:
            instances: D of the slots in question, [T, m, d], m ≥ 1.
            encoded: E_q, [T, h, w, d].
            fused: F, [T, h, w, d].
            maps: the backbone's.
        """
        shared = self.from_features(torch.cat([encoded, fused], -1).movedim(-1, 1))
        middle, fine = self.lateral_middle(maps.stride8), self.lateral_fine(maps.stride4)
        slots = [
            self._slot(self.attention(instances[:, slot : slot + 1], fused)[0], shared, middle, fine)
            for slot in range(instances.shape[1])
        ]
        return torch.stack(slots)

    def _slot(self, attention: Tensor, shared: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
        """One slot's attention [T, heads, h, w] -> mask logits [T, H / 4, W / 4]."""
        # Weights sum to 1 over a frame's cells; scaled to a mean of 1, or they would be lost beside the features.
        x = shared + self.from_attention(attention * (attention.shape[-1] * attention.shape[-2]))
        x = F.relu(self.norm_coarse(x))
        x = self.to_middle(F.interpolate(x, middle.shape[-2:], mode="nearest") + middle)
        x = self.to_fine(F.interpolate(x, fine.shape[-2:], mode="nearest") + fine)
        mask_feature = self.to_mask_feature(x)  # g, [T, a, H / 4, W / 4]
        result: Tensor = self.over_time(mask_feature.transpose(0, 1)[None])[0, 0]
        return result


def _spread_in_time(channels: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv3d(channels, out, 3, padding=2, dilation=2), nn.GroupNorm(4, out), nn.ReLU()
