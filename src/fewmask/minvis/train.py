"""Training an image segmenter for MinVIS on labelled frames (Section 3.2, appendix recipes).

Frames are independent, so still pictures and single frames of a video are the same thing here.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from fewmask.errors import ConfigError
from fewmask.minvis.architecture import Architecture, build, supervised_outputs
from fewmask.minvis.augment import Augmentation, LabelledFrame, drop_small, paste, recolour, view
from fewmask.minvis.pretrained import save_small
from fewmask.minvis.segmenter import Mask2FormerSegmenter, PixelNormalisation
from fewmask.minvis.training_data import FrameLabels, TrainingData
from fewmask.models.set_criterion import (
    CriterionSettings,
    InstanceTargets,
    QueryPrediction,
    SeededPoints,
    SetCriterion,
)
from fewmask.models.tiny_vit import TinyViT
from fewmask.training.settings import TrainSettings


class MinvisRecipe(BaseModel):
    """One trained model: network, data rules, views and optimisation. Stored as TOML under recipes/minvis/."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Architecture = Field(default_factory=Architecture)
    class_agnostic: bool = Field(True, description="all categories become one class, object")
    hold_out: int = Field(0, ge=0, description="images or videos whose id it divides are for validation; 0 = none")
    require: str | None = Field(None, description="COCO: use only images with this field true in the file")
    frames: float = Field(1.0, gt=0, le=1, description="YouTube-VIS: share of each video's frames that is used")
    sizes: tuple[tuple[int, int], ...] = Field(
        ((224, 320),), description="sizes (H, W) of the views, in turn from step to step; multiples of 32"
    )
    validation_short_side: int = 256
    augmentation: Augmentation = Field(default_factory=Augmentation)
    calm_after: int | None = Field(None, ge=0, description="step from which calm_augmentation holds; null = never")
    calm_augmentation: Augmentation = Field(default_factory=Augmentation)
    imagenet: bool = Field(False, description="start a timm backbone from its ImageNet weights (cache or download)")
    frozen_norms: bool = Field(
        True, description="batch norms of the backbone keep their statistics; no without weights"
    )
    points: int = Field(12544, gt=0, description="points per mask in matching and losses")
    backbone_rate: float = Field(0.1, ge=0, description="learning rate of the backbone relative to the rest")
    train: TrainSettings


@dataclass(frozen=True)
class _Sample:
    frame: LabelledFrame
    point_seed: int


@dataclass(frozen=True)
class _Batch:
    pixels: Tensor  # uint8 [B, H, W, 3]
    targets: list[InstanceTargets]
    point_seeds: list[int]


class MinvisTask:
    """The `TrainTask` of a MinVIS segmenter.

    Args:
        recipe: what to train; the number of classes is taken from the data.
        data: labelled frames (`fewmask.minvis.training_data`).
        initial: MobileSAM state dict (original key names) for a tiny_vit_5m backbone, or None.

    Raises:
        ConfigError: ``initial`` with another backbone.
        CheckpointError: ``initial`` is not a MobileSAM state dict.
    """

    network: nn.Module

    def __init__(self, recipe: MinvisRecipe, data: TrainingData, initial: dict[str, Tensor] | None = None) -> None:
        self.recipe = recipe
        self._data = data
        self._architecture = replace(recipe.network, num_classes=len(data.categories))
        torch.manual_seed(recipe.train.seed)
        self.network = build(self._architecture, imagenet=recipe.imagenet)
        encoder: Any = self.network.get_submodule("model.pixel_level_module.encoder")
        encoder.frozen_norms = recipe.frozen_norms
        if initial is not None:
            if not isinstance(encoder.body, TinyViT):
                raise ConfigError(
                    f"initial MobileSAM weights fit the backbone tiny_vit_5m, not {recipe.network.backbone}"
                )
            encoder.body.load_mobile_sam(initial)
        self._criterion = SetCriterion(len(data.categories), CriterionSettings(points=recipe.points))

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Backbone apart; no decay for normalisations and embeddings."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for module_name, module in self.network.named_modules():
            free = isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d | nn.Embedding)
            for name, parameter in module.named_parameters(recurse=False):
                bias_table = name == "attention_biases"
                backbone = ".encoder.body" in f"{module_name}." and "pixel_level_module" in module_name
                groups.setdefault((backbone, free or bias_table or name == "level_embed"), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": learning_rate * (self.recipe.backbone_rate if backbone else 1.0),
                "weight_decay": 0.0 if free else weight_decay,
            }
            for (backbone, free), parameters in sorted(groups.items())
        ]

    def sample(self, number: int) -> _Sample:
        """A view of one frame of one video, with pasted objects of another; every epoch in its own order."""
        recipe, videos = self.recipe, self._data.videos
        epoch, place = divmod(number, len(videos))
        order = np.random.default_rng((recipe.train.seed, epoch)).permutation(len(videos))
        random = np.random.default_rng((recipe.train.seed, 1, number))
        step = number // recipe.train.batch_size
        size = recipe.sizes[step % len(recipe.sizes)]
        calm = recipe.calm_after is not None and step >= recipe.calm_after
        strength = recipe.calm_augmentation if calm else recipe.augmentation
        frame = view(_any_frame(videos[order[place]], random).load(), size, strength, random)
        if random.random() < strength.paste:
            other = _any_frame(videos[int(random.integers(len(videos)))], random).load()
            frame = paste(frame, view(other, size, strength, random), strength, random)
        frame = drop_small(frame, strength.least_area)
        rgb = recolour(frame.rgb, strength.colour, random) if strength.colour else frame.rgb
        return _Sample(LabelledFrame(rgb, frame.masks, frame.labels), int(random.integers(2**62)))

    def collate(self, samples: Sequence[_Sample]) -> _Batch:
        """Samples of one size as a batch."""
        return _Batch(
            torch.from_numpy(np.stack([sample.frame.rgb for sample in samples])),
            [
                InstanceTargets(torch.from_numpy(sample.frame.labels), torch.from_numpy(sample.frame.masks))
                for sample in samples
            ],
            [sample.point_seed for sample in samples],
        )

    def loss(self, batch: _Batch, device: torch.device) -> dict[str, Tensor]:
        """The set criterion over the learned queries and all decoder layers."""
        normalisation = PixelNormalisation()
        pixels = batch.pixels.to(device).permute(0, 3, 1, 2).float()
        mean = torch.tensor(normalisation.mean, device=device).view(3, 1, 1)
        std = torch.tensor(normalisation.std, device=device).view(3, 1, 1)
        outputs = supervised_outputs(self.network, (pixels - mean) / std)
        targets = [InstanceTargets(t.labels.to(device), t.masks.to(device)) for t in batch.targets]
        with torch.autocast(device.type, enabled=False):
            losses: dict[str, Tensor] = self._criterion.to(device)(
                [QueryPrediction(*output) for output in outputs], targets, SeededPoints(batch.point_seeds, device)
            )
        return losses

    def validate(self) -> dict[str, float]:
        """Figures of the present weights on the held-out data."""
        if self._data.validate is None:
            return {}
        # A copy: the segmenter swaps modules for ones that are faster forward and slower backward.
        model: Any = copy.deepcopy(self.network)
        on_cpu = next(model.parameters()).device.type == "cpu"
        precision = torch.bfloat16 if self.recipe.train.precision == "bf16" or not on_cpu else None
        return self._data.validate(
            Mask2FormerSegmenter(model, short_side=self.recipe.validation_short_side, autocast_dtype=precision)
        )

    def save(self, folder: Path) -> None:
        """Write the network for `MinVIS.from_pretrained`, in half precision."""
        save_small(
            self.network,
            self._architecture,
            folder,
            categories=list(self._data.categories),
            short_side=self.recipe.validation_short_side,
        )


def _any_frame(video: Sequence[FrameLabels], random: np.random.Generator) -> FrameLabels:
    return video[int(random.integers(len(video)))]
