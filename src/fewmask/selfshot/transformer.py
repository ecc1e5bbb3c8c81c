"""The common-instance transformer: what query and supports share, as n instance sequences (Section 5, Fig. 1).

Design choices:
- One clip at a time; supports are encoded one by one, so they may be cached and differ in length.
- Fuser layers are chained: the fused query and the enhanced support of one layer enter the next.
- Position codes enter the encoder's queries and keys and the decoder's memory; the fuser compares content alone.
- With no fuser layers the supports have no say, with no encoder layers tokens know only themselves: Table 3.
- ``structure = "few_shot"`` is the baseline of Table 11, the few-shot transformer in place of encoder and fuser: in its
  layers the query looks at itself, then at the supports, which nothing of the query reaches.
- ``likeness`` (not in the paper) tells F how much each place of the query looks like its nearest place in the supports.
- Masks are drawn for the slots that are asked for, in training those matched, in use those found.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import ConfigError
from fewmask.models.position3d import spatio_temporal_sine
from fewmask.selfshot.attention import DecoderLayer, EncoderLayer, FuserLayer
from fewmask.selfshot.backbone import Backbone, BackboneName, Maps
from fewmask.selfshot.mask_head import MaskHead
from fewmask.selfshot.tracks import ClipPrediction, SlotPrediction


class TransformerConfig(BaseModel):
    """Shape of the transformer; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneName = "resnet50"
    width: PositiveInt = Field(
        le=8192, default=288, description="d; divisible by 6 for the position code and by the heads"
    )
    heads: PositiveInt = Field(default=8, le=256)
    feed_forward: PositiveInt = Field(default=2048, le=65536)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    structure: Literal["common", "few_shot"] = Field(
        default="common",
        description="few_shot: query and supports meet in the encoder's layers, one way; fuser_layers must be 0",
    )
    encoder_layers: NonNegativeInt = Field(default=6, le=64)
    fuser_layers: NonNegativeInt = Field(default=3, le=64)
    decoder_layers: PositiveInt = Field(default=6, le=64)
    slots: PositiveInt = Field(le=1000, default=10, description="n, instances per frame")
    frames: PositiveInt = Field(le=1024, default=32, description="T, frames of a query clip")
    support_frames: PositiveInt = Field(le=1024, default=24, description="frames of a support clip")
    size: tuple[PositiveInt, PositiveInt] = Field(default=(280, 320), description="frames are resized to this (H, W)")
    position: Literal["both", "query", "support", "none"] = Field(
        default="both", description="whose tokens carry codes (Table 9)"
    )
    mask_levels: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        default=(128, 64, 32), description="channels of the mask head at strides 16, 8 and 4"
    )
    mask_channels: PositiveInt = Field(
        le=1024, default=24, description="a; not printed, and 18 of the released head cannot be grouped"
    )
    common_map: bool = Field(
        default=False, description="F is also taught, cell by cell, what is common; not in the paper, learns sooner"
    )
    likeness: bool = Field(
        default=False,
        description="F is told how much each cell looks like the supports, by the backbone's own features; not in the "
        "paper, whose fuser learns to compare",
    )


PAPER = TransformerConfig()
SMALL = TransformerConfig(
    backbone="mobilenet_v2", width=96, heads=4, feed_forward=256, encoder_layers=2, fuser_layers=1, decoder_layers=2,
    slots=6, frames=8, support_frames=4, size=(160, 224), mask_levels=(32, 24, 16), mask_channels=16,
)  # fmt: skip


LIKENESS_START = 0.3  # tokens are layer-normalised: of size 1 per channel


class EncodedClip(NamedTuple):
    """A clip after backbone and encoder.

    Attributes:
        tokens: E, [T * h * w, d], frame-major.
        grid: (T, h, w).
        code: position code of the tokens, [T * h * w, d].
        maps: the backbone's.
    """

    tokens: Tensor
    grid: tuple[int, int, int]
    code: Tensor
    maps: Maps


class EncodedSupports(NamedTuple):
    """Support clips after backbone and encoder.

    Attributes:
        tokens: E_s of all clips, [L, d].
        looks: with ``likeness``, the backbone's features at stride 16 of each clip, of unit length, [L_i, C].
    """

    tokens: Tensor
    looks: tuple[Tensor, ...]

    @classmethod
    def joined(cls, parts: Sequence["EncodedSupports"]) -> "EncodedSupports":
        """Several encoded before as one."""
        return cls(torch.cat([part.tokens for part in parts]), tuple(look for part in parts for look in part.looks))


class CommonInstanceTransformer(nn.Module):
    """Finds in a query clip the instances of what its support clips show.

    Raises:
        ConfigError: the width does not suit the position code or the heads, or the mask head's channels its groups; or
            a few-shot structure has a fuser.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if config.width % 6 or config.width % config.heads:
            raise ConfigError(f"width {config.width} must be divisible by 6 and by the {config.heads} heads")
        if any(channels % 8 for channels in (*config.mask_levels, config.mask_channels)):
            raise ConfigError(
                f"mask_levels {config.mask_levels} and mask_channels {config.mask_channels} must be divisible by 8"
            )
        if config.structure == "few_shot" and config.fuser_layers:
            raise ConfigError(
                f"the few_shot structure has no fuser, fuser_layers is {config.fuser_layers}; set it to 0"
            )
        self.config = config
        shape = (config.width, config.heads, config.feed_forward, config.dropout)
        self.backbone = Backbone(config.backbone)
        self.reduce = nn.Conv2d(self.backbone.channels[2], config.width, 1)
        self.encoder = nn.ModuleList(EncoderLayer(*shape) for _ in range(config.encoder_layers))
        together = config.encoder_layers if config.structure == "few_shot" else 0
        self.joint = nn.ModuleList(DecoderLayer(*shape) for _ in range(together))
        self.fuser = nn.ModuleList(FuserLayer(*shape) for _ in range(config.fuser_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*shape) for _ in range(config.decoder_layers))
        self.decoder_norm = nn.LayerNorm(config.width)
        # A slot starts alike in all frames, for matching gives all of them one object.
        instants = spatio_temporal_sine(torch.zeros(1, config.frames, 1, 1, dtype=torch.bool), config.width)
        slots = torch.randn(config.slots, config.width)
        self.instance_codes = nn.Parameter((instants[0].flatten(1)[:, None] + slots).flatten(0, 1))
        self.classify = nn.Linear(config.width, 2)
        self.common = nn.Linear(config.width, 1) if config.common_map else None
        self.likeness = nn.Parameter(torch.randn(config.width) * LIKENESS_START) if config.likeness else None
        self.locate = nn.Sequential(
            nn.Linear(config.width, config.width), nn.ReLU(), nn.Linear(config.width, config.width), nn.ReLU(),
            nn.Linear(config.width, 4),
        )  # fmt: skip
        self.mask_head = MaskHead(
            config.width, config.heads, self.backbone.channels,
            channels=config.mask_levels, mask_channels=config.mask_channels,
        )  # fmt: skip
        for name, parameter in self.named_parameters():
            # The new layers start from Xavier; offsets of the deformable convolution keep their zeros.
            if parameter.ndim > 1 and not name.startswith(("backbone.", "instance_codes")) and "offsets" not in name:
                nn.init.xavier_uniform_(parameter)
        for layer in self.fuser:
            for attention in (layer.query_from_support, layer.support_from_query, layer.fuse):
                # Alike at the start: what looks alike is then what is attended to.
                attention.key.load_state_dict(attention.query.state_dict())  # type: ignore[union-attr]
        for layer in self.joint:
            layer.cross_attention.key.load_state_dict(layer.cross_attention.query.state_dict())  # type: ignore[union-attr]

    def encode(self, clip: Tensor | Maps, *, support: bool) -> EncodedClip:
        """Backbone and shared encoder over a clip, stage 1.

        Args:
            clip: uint8 [T, H, W, 3] of the configured size; T at most ``frames`` for a query. Or its maps, where a
                frozen backbone has seen it before.
            support: whether the clip supports; decides about position codes in the ablation of Table 9.
        """
        maps = clip if isinstance(clip, Maps) else self.backbone(clip)
        reduced = self.reduce(maps.stride16)  # [T, d, h, w]
        frames, _, height, width = reduced.shape
        tokens = reduced.movedim(1, -1).flatten(0, 2)
        padding = torch.zeros(1, frames, height, width, dtype=torch.bool, device=tokens.device)
        code = spatio_temporal_sine(padding, self.config.width)[0].movedim(1, -1).flatten(0, 2).to(tokens.dtype)
        coded = self.config.position in ("both", "support" if support else "query")
        for layer in () if self.joint and not support else self.encoder:
            tokens = layer(tokens, code if coded else None)
        return EncodedClip(tokens, (frames, height, width), code, maps)

    def encode_supports(self, clips: Sequence[Tensor | Maps]) -> EncodedSupports:
        """All supports, one encoded at a time.

        Args:
            clips: uint8 [T_i, H, W, 3] each, or maps; a picture is a clip of one frame.

        Raises:
            ConfigError: there are none.
        """
        if not clips:
            raise ConfigError("no support clip is given; give at least one")
        encoded = [self.encode(clip, support=True) for clip in clips]
        looks = () if self.likeness is None else tuple(_looks(clip.maps) for clip in encoded)
        return EncodedSupports(torch.cat([clip.tokens for clip in encoded]), looks)

    def forward(self, clip: Tensor | Maps, supports: EncodedSupports) -> ClipPrediction:
        """Segment a query clip.

        Args:
            clip: uint8 [T, H, W, 3] with T = ``frames``, or its maps.
            supports: as ``encode_supports`` gives it.

        Raises:
            ConfigError: the clip has another number of frames.
        """
        config = self.config
        frames = len(clip.stride16 if isinstance(clip, Maps) else clip)
        if frames != config.frames:
            raise ConfigError(f"the clip has {frames} frames, the network takes {config.frames}; pad or cut it")
        query = self.encode(clip, support=False)
        fused, enhanced = query.tokens, supports.tokens
        for layer in self.joint:
            fused = layer(fused, query.code, supports.tokens)
        for layer in self.fuser:
            fused, enhanced = layer(fused, enhanced)
        if self.likeness is not None:
            fused = fused + likeness(_looks(query.maps), supports.looks)[:, None] * self.likeness
        placed = fused + query.code
        instances = torch.zeros_like(self.instance_codes)
        layers = []
        for layer in self.decoder:
            instances = layer(instances, self.instance_codes, placed)
            layers.append(self.decoder_norm(instances).unflatten(0, (config.frames, config.slots)))
        predictions = [SlotPrediction(self.classify(d), self.locate(d).sigmoid()) for d in layers]
        grid = (*query.grid, config.width)

        def masks(slots: Tensor) -> Tensor:
            drawn: Tensor = self.mask_head(layers[-1][:, slots], query.tokens.view(grid), fused.view(grid), query.maps)
            return drawn

        common = None if self.common is None else self.common(fused).view(query.grid)
        return ClipPrediction(predictions[-1], masks, tuple(predictions[:-1]), common)


def likeness(query: Tensor, supports: Sequence[Tensor]) -> Tensor:
    """How much each place of a query looks like the place of a support that it looks like most, on average.

    The average over supports, and not the best of all: what only one of them shows too, such as its background, is
    not what they have in common.

    Args:
        query: features of unit length [Lq, C].
        supports: the same of each support clip, [L_i, C].

    Returns:
        The mean over the clips of the largest cosine of each place [Lq], shifted and scaled to mean 0, deviation 1.
    """
    best = torch.stack([(query @ support.T).amax(1) for support in supports]).mean(0)
    spread: Tensor = (best - best.mean()) / (best.std(correction=0) + 1e-4)
    return spread


def _looks(maps: Maps) -> Tensor:
    """Stride-16 features of a clip as rows of unit length, [T h w, C]."""
    return functional.normalize(maps.stride16.movedim(1, -1).flatten(0, 2), dim=1)
