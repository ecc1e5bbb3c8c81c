"""What every recipe says about optimisation, validated; a model's own recipe adds its network and data."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class TrainSettings(BaseModel):
    """Optimisation of one training run.

    Every sample, augmentation and random point derives from ``seed`` and the sample's number alone, so resuming,
    the number of data workers and the number of processes change nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: PositiveInt = Field(description="optimiser steps")
    batch_size: PositiveInt = Field(description="samples per optimiser step, over all processes and accumulation")
    accumulate: PositiveInt = Field(1, description="forward passes a step is split into, to save memory")
    learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    clip_norm: float | None = Field(0.01, gt=0, description="global L2 norm of the gradient; null = no clipping")
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = Field((), description="steps after which the rate is multiplied by 0.1")
    warmup: int = Field(10, ge=0, description="steps of linear warm-up from warmup_factor")
    warmup_factor: float = Field(1.0, gt=0, le=1, description="1 = none, as the MinVIS recipes have it")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights; null = none")
    seed: int = 0
    workers: int = Field(0, ge=0, description="data processes; 0 = in the training process")
    log_every: PositiveInt = 20
    checkpoint_every: PositiveInt = 500
    validate_every: int = Field(0, ge=0, description="0 = only at the end")
    tensorboard: bool = Field(False, description="write TensorBoard events beside log.csv; needs fewmask[tensorboard]")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is not divisible by accumulate {self.accumulate}")
        if any(step >= self.steps for step in self.milestones):
            raise ValueError(f"milestones {list(self.milestones)} must lie before the last of {self.steps} steps")
        if self.schedule == "cosine" and self.milestones:
            raise ValueError("milestones belong to schedule step; a cosine schedule has none")
        return self


def rate_factor(settings: TrainSettings, step: int) -> float:
    """Multiplier of the learning rate at ``step`` (0-based)."""
    factor = 1.0
    if step < settings.warmup:
        factor = settings.warmup_factor + (1 - settings.warmup_factor) * step / settings.warmup
    if settings.schedule == "cosine":
        return factor * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return factor * 0.1 ** sum(step >= milestone for milestone in settings.milestones)
