"""The settings of a VIPMT network, with the two named configurations ``paper`` and ``small``."""

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field

from fewmask.errors import ConfigError

_Side = Annotated[int, Field(ge=1, le=16_384)]


@dataclass(frozen=True)
class VIPMTConfig:
    """Shape and procedure of one network; saved as config.json beside the weights.

    Raises:
        ConfigError: a value out of its range.
    """

    backbone: str = "resnet50_deep"
    """``resnet50_deep``, ``mobilenet_v2``, ``timm:NAME`` or ``transformers:NAME`` (see backbone.py)."""
    fused_blocks: tuple[int, int] = (2, 3)
    """Backbone blocks (1..4) concatenated into the segmentation feature; the paper says 1 and 2, its code 2 and 3."""
    channels: Annotated[int, Field(ge=4, le=8192)] = 384
    """C, the width of every prototype and token."""
    feed_forward: Annotated[int, Field(ge=1, le=65536)] = 1152
    """Hidden width of the feed-forward networks inside an iteration."""
    heads: Annotated[int, Field(ge=1, le=256)] = 8
    """Heads of the self-attention inside query activation."""
    iterations: Annotated[int, Field(ge=1, le=64)] = 5
    """L, how often prototypes and query features refine each other."""
    prior_channels: Annotated[int, Field(ge=1, le=8192)] = 384
    """Channels that X4 is pooled to for the prior and the structural maps."""
    prior_features: Literal["paper", "fused"] = "paper"
    """What prior and structural maps compare: ``paper`` takes X4, and for the prior the support pixel that fits best;
    ``fused`` the two fused blocks, each of unit length, and for the prior each support's mean foreground."""
    input_size: tuple[_Side, _Side] = (240, 424)
    """Height and width that frames are letterboxed to when the model is used on pictures and videos."""
    clip_length: Annotated[int, Field(ge=1, le=1024)] = 5
    """T_c, frames segmented together."""
    memory_length: Annotated[int, Field(ge=0, le=10000)] = 5
    """T_m, most memory frames given to a clip."""
    memory_threshold: float = 0.8
    """Predicted IoU from which a frame may enter the memory (the code's >=; the paper says larger than)."""
    prior: Literal["per_frame", "running"] = "per_frame"
    """``running`` repeats the released code, where the prior of frame t is the mean over the clip's frames 0..t."""
    frame_prototypes: bool = True
    """False leaves out eq 10-11: the clip prototype does all the work (rows "Baseline" and "+C" of Table 4)."""
    exemplar_softmax: Literal["joint", "apart"] = "joint"
    """``joint``, as released: with memory one softmax runs over the tokens of supports and memory together; ``apart``
    one over each, as eq 2 and 13 have it."""
    bidirectional: bool = True
    """False starts the next iteration from the clip prototype (the one-way row of Table 5)."""
    iou_channels: Annotated[int, Field(ge=1, le=8192)] = 256
    """Width of the IoU network's convolutions."""
    iou_hidden: Annotated[int, Field(ge=1, le=65536)] = 1024
    """Width of the IoU network's hidden fully connected layer."""
    iou_grid: tuple[_Side, _Side] = (8, 14)
    """Grid the fully connected layer was trained on; other sizes are pooled to it."""
    structural_maps: bool = True
    """False feeds zeros instead of the four maps of eq 15-16 ("w/o SSM" in Tables 6 and 7)."""
    feature_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Channel dropout of the adjusted backbone features."""
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout inside attention and feed-forward networks."""
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Channel dropout before the last layer of the two heads."""

    def __post_init__(self) -> None:
        if self.channels % self.heads or self.channels % 4:
            raise ConfigError(f"channels={self.channels} must be a multiple of 4 and of heads={self.heads}")
        if not all(1 <= block <= 4 for block in self.fused_blocks):
            raise ConfigError(f"fused_blocks={self.fused_blocks} must name two of the four blocks 1..4")
        if self.prior not in ("per_frame", "running"):
            raise ConfigError(f"prior={self.prior!r} is unknown; use 'per_frame' or 'running'")
        if self.prior_features not in ("paper", "fused"):
            raise ConfigError(f"prior_features={self.prior_features!r} is unknown; use 'paper' or 'fused'")
        if self.exemplar_softmax not in ("joint", "apart"):
            raise ConfigError(f"exemplar_softmax={self.exemplar_softmax!r} is unknown; use 'joint' or 'apart'")
        for name in ("iterations", "clip_length", "prior_channels", "iou_channels", "iou_hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")
        if self.memory_length < 0:
            raise ConfigError(f"memory_length={self.memory_length} must not be negative")
        if not 0.0 <= self.memory_threshold <= 1.0:
            raise ConfigError(f"memory_threshold={self.memory_threshold} must lie in 0..1")

    @property
    def least_numbers(self) -> int:
        """Weights that a network of this shape has at the very least: those of its largest matrices."""
        iou = self.iou_hidden * self.iou_grid[0] * self.iou_grid[1]
        return self.iterations * self.channels * (self.channels + self.feed_forward) + iou

    def to_dict(self) -> dict[str, Any]:
        """Values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``to_dict``.

        Raises:
            ConfigError: an unknown key.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"config.json: unknown key {unknown[0]!r}; it was written by another version")
        return cls(**cast(Any, {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}))


PAPER = VIPMTConfig()
"""ResNet-50, C = 384, 240 x 424: the network of the paper and of the released checkpoints."""

SMALL = VIPMTConfig(
    backbone="mobilenet_v2",
    fused_blocks=(3, 4),
    channels=64,
    feed_forward=192,
    heads=4,
    iterations=2,
    prior_channels=160,
    prior_features="fused",
    input_size=(160, 288),
    iou_channels=32,
    iou_hidden=64,
    iou_grid=(5, 9),
    feature_dropout=0.5,
    attention_dropout=0.0,
)
"""Trains on one CPU core; the frozen backbone is torchvision's ImageNet MobileNetV2."""

NAMED = {"paper": PAPER, "small": SMALL}
