"""Prototype activation (section 3.2, after IPMT): tokens of supports and query, prior, and the first mask."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewmask.vipmt.backbone import FrameFeatures
from fewmask.vipmt.config import VIPMTConfig
from fewmask.vipmt.exemplars import Exemplars
from fewmask.vipmt.heads import residual_block
from fewmask.vipmt.initial_scales import keep_scale_through_relu, prior_column
from fewmask.vipmt.similarity import compared_features, prior_maps, region_pixels
from fewmask.vipmt.token_masks import repair_degenerate, to_tokens

AREA_EPS = 0.0005


@dataclass(frozen=True)
class ActivatedQuery:
    """What the iterations start from, for T query frames."""

    adjusted: Tensor
    """Adjusted backbone feature before anything of the supports is mixed in, [T, C, h, w]: the F_j of eq 18."""
    tokens: Tensor
    """F_0, [T, C, h, w]."""
    prior: Tensor
    """[T, h, w] in [0, 1]."""
    initial_logits: Tensor
    """[T, 2, h, w]; their argmax is the initial mask O_0."""


class PrototypeActivation(nn.Module):
    """Everything before the first iteration."""

    def __init__(self, config: VIPMTConfig, block_channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        fused = sum(block_channels[block - 1] for block in config.fused_blocks)
        self.adjust_query = nn.Conv2d(fused, channels, 1, bias=False)
        self.adjust_support = nn.Conv2d(fused, channels, 1, bias=False)
        self.merge_query = nn.Conv2d(2 * channels + 1, channels, 1, bias=False)
        self.merge_support = nn.Conv2d(2 * channels, channels, 1, bias=False)
        for layer in (self.adjust_query, self.adjust_support, self.merge_query, self.merge_support):
            keep_scale_through_relu(layer)
        prior_column(self.merge_query.weight)
        self.initial_residual = residual_block(channels)
        self.initial_classifier = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Dropout2d(config.head_dropout),
            nn.Conv2d(channels, 2, 1),
        )
        self.dropout = nn.Dropout2d(config.feature_dropout)

    def fuse(self, features: FrameFeatures) -> Tensor:
        """The two fused blocks side by side, [N, C_a + C_b, h, w]."""
        return torch.cat([features.blocks[block - 1] for block in self.config.fused_blocks], dim=1)

    def exemplars(self, features: FrameFeatures, masks: Tensor) -> Exemplars:
        """Encode frames with their masks [N, H, W].

        Attention sees empty and full masks repaired (token_masks.py); prototypes, prior and structural maps see them
        as they are, so an empty mask gives the zero prototype.
        """
        inside = to_tokens(masks)
        adjusted = self.dropout(self.adjust_support(self.fuse(features)).relu())
        weights = inside[:, None].to(adjusted.dtype)
        prototypes = (adjusted * weights).sum((2, 3)) / (weights.sum((2, 3)) + AREA_EPS)
        spread = prototypes[:, :, None, None].expand_as(adjusted)
        tokens = self.merge_support(torch.cat((adjusted, spread), dim=1)).relu()
        pooled = compared_features(features, self.config)
        regions = tuple(region_pixels(frame, mask) for frame, mask in zip(pooled, inside, strict=True))
        return Exemplars(tokens, prototypes, repair_degenerate(inside), regions)

    def forward(self, features: FrameFeatures, exemplars: Exemplars, *, blind: bool = False) -> ActivatedQuery:
        """Activate T query frames by all exemplars, supports and memory together.

        ``blind``: F_0 is told nothing of them (no mean prototype, no prior), so that only the iterations can.
        """
        adjusted = self.dropout(self.adjust_query(self.fuse(features)).relu())
        regions = exemplars.regions
        if self.config.prior_features == "fused":
            regions = tuple(region.mean(0, keepdim=True) if len(region) else region for region in regions)
        prior = prior_maps(compared_features(features, self.config), regions)
        if self.config.prior == "running":
            counts = torch.arange(1, len(prior) + 1, dtype=prior.dtype, device=prior.device)
            prior = prior.cumsum(0) / counts[:, None, None]
        prototype = exemplars.prototypes.mean(0)[None, :, None, None].expand_as(adjusted)
        told = 0.0 if blind else 1.0
        tokens = self.merge_query(torch.cat((adjusted, told * prototype, told * prior[:, None]), dim=1)).relu()
        initial_logits = self.initial_classifier(tokens + self.initial_residual(tokens))
        return ActivatedQuery(adjusted, tokens, prior, initial_logits)
