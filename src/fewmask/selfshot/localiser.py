"""Temporal action localisation by the same encoder, fuser and decoder as masks: one token per row of a video (Table 2).

Self-Shot puts its supports into the pipeline of Yang et al. for this; here its own transformer gets a 1-D head. A slot
says how sure it is that it holds the action which query and supports share, and from when to when; it knows no classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import ConfigError
from fewmask.models.position3d import spatio_temporal_sine
from fewmask.selfshot.attention import DecoderLayer, EncoderLayer, FuserLayer

LIKENESS_START = 0.3


class LocaliserConfig(BaseModel):
    """Shape of the network; rows are what a frozen video network says of successive pieces of a video."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: PositiveInt = Field(le=65536, description="numbers per row")
    width: PositiveInt = Field(le=8192, default=96, description="d; divisible by 6 and by the heads")
    heads: PositiveInt = Field(default=4, le=256)
    feed_forward: PositiveInt = Field(default=256, le=65536)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    encoder_layers: NonNegativeInt = Field(default=2, le=64)
    fuser_layers: NonNegativeInt = Field(default=1, le=64, description="0: the supports have no say")
    decoder_layers: PositiveInt = Field(default=2, le=64)
    slots: PositiveInt = Field(le=1000, default=8, description="stretches per video at most")
    likeness: bool = Field(
        default=True, description="F is told how much each row is like the supports'; see transformer"
    )


class StretchPrediction(NamedTuple):
    """What the slots of one video say.

    Attributes:
        logits: of holding a common action, [n].
        spans: centre and length as shares of the video, in [0, 1], [n, 2].
        common: logit that a row belongs to a common action, [L].
    """

    logits: Tensor
    spans: Tensor
    common: Tensor


class ActionLocaliser(nn.Module):
    """Finds in the rows of a query video the stretches of what its supports show.

    Raises:
        ConfigError: the width does not suit the position code or the heads.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: LocaliserConfig) -> None:
        super().__init__()
        if config.width % 6 or config.width % config.heads:
            raise ConfigError(f"width {config.width} must be divisible by 6 and by the {config.heads} heads")
        self.config = config
        shape = (config.width, config.heads, config.feed_forward, config.dropout)
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("deviation", torch.ones(config.features))
        self.reduce = nn.Linear(config.features, config.width)
        self.encoder = nn.ModuleList(EncoderLayer(*shape) for _ in range(config.encoder_layers))
        self.fuser = nn.ModuleList(FuserLayer(*shape) for _ in range(config.fuser_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*shape) for _ in range(config.decoder_layers))
        self.slot_codes = nn.Parameter(torch.randn(config.slots, config.width))
        self.norm = nn.LayerNorm(config.width)
        self.classify = nn.Linear(config.width, 1)
        self.common = nn.Linear(config.width, 1)
        self.likeness = nn.Parameter(torch.randn(config.width) * LIKENESS_START) if config.likeness else None
        self.locate = nn.Sequential(nn.Linear(config.width, config.width), nn.ReLU(), nn.Linear(config.width, 2))
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and name != "slot_codes":
                nn.init.xavier_uniform_(parameter)
        for layer in self.fuser:
            for attention in (layer.query_from_support, layer.support_from_query, layer.fuse):
                attention.key.load_state_dict(attention.query.state_dict())  # type: ignore[union-attr]

    def normalise_by(self, rows: Tensor) -> None:
        """Remember mean and deviation of training rows [N, C]; every row is scaled by them."""
        self.mean.copy_(rows.mean(0))
        self.deviation.copy_(rows.std(0) + 1e-4)

    def forward(self, query: Tensor, supports: Sequence[Tensor]) -> StretchPrediction:
        """Localise in one video.

        Args:
            query: rows [L, C].
            supports: rows of each support clip [L_i, C]; may be none where there are no fuser layers and no likeness.

        Raises:
            ConfigError: no supports, where the network wants them.
        """
        if not supports and (self.config.fuser_layers or self.config.likeness):
            raise ConfigError("no support clip is given; give at least one, or take a network without a fuser")
        scaled = self._scaled(query)
        fused, code = self._encoded(scaled)
        if self.config.fuser_layers:
            enhanced = torch.cat([self._encoded(self._scaled(support))[0] for support in supports])
            for layer in self.fuser:
                fused, enhanced = layer(fused, enhanced)
        if self.likeness is not None:
            fused = fused + _likeness(scaled, [self._scaled(s) for s in supports])[:, None] * self.likeness
        placed = fused + code
        slots = torch.zeros_like(self.slot_codes)
        for layer in self.decoder:
            slots = layer(slots, self.slot_codes, placed)
        slots = self.norm(slots)
        return StretchPrediction(self.classify(slots)[:, 0], self.locate(slots).sigmoid(), self.common(fused)[:, 0])

    def _scaled(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.deviation

    def _encoded(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens after the encoder and their position code, both [L, d]."""
        tokens = self.reduce(rows)
        padding = torch.zeros(1, len(rows), 1, 1, dtype=torch.bool, device=rows.device)
        code = spatio_temporal_sine(padding, self.config.width)[0, :, :, 0, 0].to(tokens.dtype)
        for layer in self.encoder:
            tokens = layer(tokens, code)
        return tokens, code


def _likeness(query: Tensor, supports: Sequence[Tensor]) -> Tensor:
    """Mean over the clips of the largest cosine of each row, shifted and scaled to mean 0 and deviation 1, [L]."""
    unit = functional.normalize(query, dim=1)
    best = torch.stack([(unit @ functional.normalize(s, dim=1).T).amax(1) for s in supports]).mean(0)
    spread: Tensor = (best - best.mean()) / (best.std(correction=0) + 1e-4)
    return spread
