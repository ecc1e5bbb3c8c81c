"""What one training of VIPMT is told: the network, its episodes, its losses, its steps."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fewmask.training.settings import TrainSettings
from fewmask.vipmt.config import VIPMTConfig


def _read_config(values: Any) -> Any:
    return VIPMTConfig.from_dict(values) if isinstance(values, dict) else values


class VIPMTRecipe(BaseModel):
    """One trained network. Stored as TOML under recipes/vipmt/."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Annotated[VIPMTConfig, BeforeValidator(_read_config)] = Field(default_factory=VIPMTConfig)
    shots: int = Field(5, ge=1, description="supports per episode")
    clips: int = Field(3, ge=1, description="clips per episode; from the second on they have memory")
    clip_length: int | None = Field(
        None, ge=1, description="frames of a training clip; null = the network's. Of stills two say as much as five"
    )
    views: int = Field(
        4, ge=0, description="augmentations per picture; 0 = ever new ones, whose features cannot be kept"
    )
    clip_stride: int = Field(1, ge=1, description="frames of a video from one frame of a clip to the next")
    crowded: float = Field(0.0, ge=0, le=1, description="share of episodes whose query shows other classes as well")
    absent: float = Field(
        0.0, ge=0, le=1, description="share of episodes whose query does not show the class; the released code has none"
    )
    blind: float = Field(
        0.0, ge=0, le=1, description="share of training clips whose tokens are told nothing of the class before the "
        "iterations, which must then find it in their prototypes; ours"
    )  # fmt: skip
    ccds: Literal["code", "paper", "off"] = "code"
    ccds_on: Literal["adjusted", "merged"] = Field(
        "adjusted",
        description="features that eq 18 looks at: as released, or those with the class in them (losses.ccds_loss)",
    )
    memory_after: int = Field(0, ge=0, description="steps before memory is used; the released code waits half a run")
    clips_before_memory: int | None = Field(
        None, ge=1, description="clips per episode until then; null = all. Fewer leave time for more episodes"
    )
    iou_training: Literal["real", "noisy", "mixed"] = Field(
        "real",
        description="IoUNet learns from predictions, from noisy true masks (on videos or on images), or from both, "
        "from empty masks and from outlines that belong elsewhere",
    )
    iou_rate: float = Field(
        1.0, gt=0, description="learning rate of IoUNet relative to the rest; its sigmoid dies where steps are large"
    )
    anew: tuple[str, ...] = Field(
        (), description="with --start-from: parts of the network, by how their parameters' names begin, that start anew"
    )
    least_videos: int = Field(4, ge=2, description="videos that must show a class for it to be used")
    held_out: int = Field(4, ge=0, description="base classes kept for validation")
    validation_episodes: int = Field(40, ge=0)
    class_balance: float = Field(
        0.0, ge=0, le=1, description="a class is drawn in proportion to this power of the number of videos with it. "
        "With 0, all alike, things that stand in most pictures, such as persons, are mostly seen as background"
    )  # fmt: skip
    cache_bytes: int = Field(2 << 30, ge=0, description="backbone features kept in memory; 0 = none")
    train: TrainSettings
