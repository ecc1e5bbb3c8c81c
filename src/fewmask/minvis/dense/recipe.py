"""The recipe of the one-stage segmenter; stored as TOML under recipes/minvis/."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fewmask.minvis.augment import Augmentation
from fewmask.minvis.dense.losses import LossWeights
from fewmask.minvis.dense.network import DenseShape
from fewmask.minvis.pixels import SIZE_DIVISOR
from fewmask.training.settings import TrainSettings


class DenseRecipe(BaseModel):
    """One trained model: network, data rules, views and optimisation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["dense"]
    width: int = Field(128, ge=8, description="channels of pyramid and heads")
    pixel_width: int = Field(96, ge=8, description="channels of the pixel embedding")
    identity: int = Field(64, ge=2, description="length of the identity vector")
    class_agnostic: bool = Field(False, description="all categories become one class, object")
    keep_names: bool = Field(
        False, description="the names of --start-from stay as they are; the data's masks are objects of no known class"
    )
    hold_out: int = Field(0, ge=0, description="images or videos whose id it divides are for validation; 0 = none")
    require: str | None = Field(None, description="COCO: of --data use only images with this field true in the file")
    frames: float = Field(1.0, gt=0, le=1, description="YouTube-VIS: share of each video's frames that is used")
    repeat: tuple[int, ...] = Field(
        (), description="how often pictures or videos of --data and each --more come in an epoch, in this order"
    )
    sizes: tuple[tuple[int, int], ...] = Field(
        ((224, 320),), min_length=1, description="sizes (H, W) of the views, in turn from step to step; multiples of 32"
    )
    validation_short_side: int = Field(256, ge=32)
    augmentation: Augmentation = Field(default_factory=Augmentation)
    calm_after: int | None = Field(None, ge=0, description="step from which calm_augmentation holds; null = never")
    calm_augmentation: Augmentation = Field(default_factory=Augmentation)
    pair_every: int = Field(
        3, ge=0, description="every so many samples is a pair: two frames of a video, or two views of a picture, whose "
        "objects the identity vector learns to tell apart; 0 = never"
    )  # fmt: skip
    pair_reach: int = Field(60, ge=1, description="most frames between the two of a pair")
    frozen_stages: int = Field(1, ge=0, le=3, description="first stages of the backbone that are not trained")
    backbone_rate: float = Field(0.3, ge=0, description="learning rate of the backbone relative to the rest")
    weights: LossWeights = Field(default_factory=LossWeights)
    train: TrainSettings

    @model_validator(mode="after")
    def _possible(self) -> Self:
        wrong = [size for size in self.sizes if min(size) < SIZE_DIVISOR or any(side % SIZE_DIVISOR for side in size)]
        if wrong:
            raise ValueError(f"sizes: {list(wrong[0])} is not made of multiples of {SIZE_DIVISOR}")
        if any(times < 1 for times in self.repeat):
            raise ValueError("repeat must be 1 or more")
        if self.calm_after is not None and self.calm_after >= self.train.steps:
            raise ValueError(f"calm_after {self.calm_after} must lie before the last of {self.train.steps} steps")
        return self

    def shape(self, classes: int) -> DenseShape:
        """The network for so many classes."""
        return DenseShape(classes, self.width, self.pixel_width, self.identity)
