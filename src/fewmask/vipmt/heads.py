"""The segmentation head and the learned upsampling by 8."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.vipmt.token_masks import STRIDE


def residual_block(channels: int) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU, no biases; the caller adds the input."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.ReLU(),
    )


class SegmentationHead(nn.Module):
    """Final query tokens F_L -> two logits per token (section 4.4)."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels, 1, bias=False)
        self.residual = residual_block(channels)
        self.classifier = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(channels, 2, 1),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """[T, C, h, w] -> [T, 2, h, w]; channel 1 is foreground."""
        x = self.reduce(tokens).relu()
        logits: Tensor = self.classifier(x + self.residual(x))
        return logits


class LearnedUpsampling(nn.Module):
    """Nearest x8, then a learned 9x9 filter per channel that starts as a box: bilinear's deterministic stand-in."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 1, STRIDE + 1, STRIDE + 1), 1 / (STRIDE + 1) ** 2))

    def forward(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """[T, 2, h, w] -> [T, 2, H, W], cut to ``size`` where it is not a multiple of 8."""
        enlarged = functional.interpolate(logits, scale_factor=float(STRIDE), mode="nearest")
        smooth = functional.conv2d(enlarged, self.weight, padding=STRIDE // 2, groups=2)
        return smooth[..., : size[0], : size[1]]
