"""Training an image segmenter for MinVIS on labelled frames (Section 3.2, appendix recipes).

Frames are independent, so still pictures and single frames of a video are the same thing here.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import ConfigError
from fewmask.minvis.architecture import Architecture, supervised_outputs
from fewmask.minvis.augment import Augmentation, LabelledFrame, drop_small, paste, recolour, view, whole_frame
from fewmask.minvis.mask2former import Mask2FormerSegmenter
from fewmask.minvis.matching_loss import matching_loss, shared_objects
from fewmask.minvis.pixels import DEFAULT_MAX_SIZE, SIZE_DIVISOR
from fewmask.minvis.start import start
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

    network: Architecture | None = Field(
        None, description="a small network; without it, that of --start-from, or the default small one"
    )
    class_agnostic: bool = Field(True, description="all categories become one class, object")
    hold_out: int = Field(0, ge=0, description="images or videos whose id it divides are for validation; 0 = none")
    require: str | None = Field(None, description="COCO: use only images with this field true in the file")
    frames: float = Field(1.0, gt=0, le=1, description="YouTube-VIS: share of each video's frames that is used")
    sizes: tuple[tuple[int, int], ...] = Field(
        ((224, 320),), min_length=1, description="sizes (H, W) of the views, in turn from step to step; multiples of 32"
    )
    short_sides: tuple[int, ...] = Field(
        (), description="instead of sizes: whole frames, the shorter side one of these pixels, as the paper has it"
    )
    validation_short_side: int = Field(256, ge=32)
    augmentation: Augmentation = Field(default_factory=Augmentation)
    calm_after: int | None = Field(None, ge=0, description="step from which calm_augmentation holds; null = never")
    calm_augmentation: Augmentation = Field(default_factory=Augmentation)
    imagenet: bool = Field(False, description="start a timm backbone from its ImageNet weights (cache or download)")
    frozen_norms: bool = Field(
        True, description="batch norms of the backbone keep their statistics; no without weights"
    )
    points: int = Field(12544, gt=0, description="points per mask in matching and losses")
    backbone_rate: float = Field(0.1, ge=0, description="learning rate of the backbone relative to the rest")
    matching_range: int | None = Field(
        None,
        ge=1,
        description="supervised matching: samples are two frames up to so many apart, whose queries a hinge loss "
        "associates; the paper's 20, or 1 for its limited range; null = single frames, as MinVIS has it",
    )
    matching_weight: float = Field(1.0, gt=0, description="weight of that hinge loss; the paper gives none")
    train: TrainSettings

    @model_validator(mode="after")
    def _possible(self) -> Self:
        wrong = [size for size in self.sizes if min(size) < SIZE_DIVISOR or any(side % SIZE_DIVISOR for side in size)]
        if wrong and not self.short_sides:
            raise ValueError(f"sizes: {list(wrong[0])} is not made of multiples of {SIZE_DIVISOR}")
        if any(side < SIZE_DIVISOR for side in self.short_sides):
            raise ValueError(f"short_sides must be {SIZE_DIVISOR} or more")
        pasted = self.augmentation.paste or (self.calm_after is not None and self.calm_augmentation.paste)
        if pasted and (self.short_sides or self.matching_range):
            raise ValueError("whole frames and pairs of frames take no pasted objects; set augmentation.paste = 0")
        if self.matching_range and self.frames != 1.0:
            raise ValueError("matching_range needs the identities of all frames; frames must be 1")
        if self.calm_after is not None and self.calm_after >= self.train.steps:
            raise ValueError(f"calm_after {self.calm_after} must lie before the last of {self.train.steps} steps")
        return self


@dataclass(frozen=True)
class _View:
    frame: LabelledFrame
    identities: tuple[int, ...]
    point_seed: int


@dataclass(frozen=True)
class _Batch:
    pixels: Tensor  # uint8 [B, H, W, 3], padded at the bottom and right
    sizes: list[tuple[int, int]]  # of the frames inside
    targets: list[InstanceTargets]
    identities: list[tuple[int, ...]]
    point_seeds: list[int]


class MinvisTask:
    """The `TrainTask` of a MinVIS segmenter.

    Args:
        recipe: what to train; the number of classes is taken from the data.
        data: labelled frames (`fewmask.minvis.training_data`).
        initial: MobileSAM state dict (original key names) for a tiny_vit_5m backbone, or None.
        start_from: see `fewmask.minvis.start.start`.

    Raises:
        ConfigError: ``initial`` with another backbone or with ``start_from``, or a recipe that the data or
            ``start_from`` exclude.
        CheckpointError: ``initial`` is not a MobileSAM state dict, or ``start_from`` does not fit.
    """

    network: nn.Module

    def __init__(
        self,
        recipe: MinvisRecipe,
        data: TrainingData,
        initial: dict[str, Tensor] | None = None,
        *,
        start_from: str | Path | None = None,
    ) -> None:
        if initial is not None and start_from is not None:
            raise ConfigError("initial weights and weights to start from exclude one another; give one")
        if recipe.matching_range and all(len(video) == 1 for video in data.videos):
            raise ConfigError("matching_range needs videos; the data are single pictures")
        self.recipe = recipe
        self._data = data
        torch.manual_seed(recipe.train.seed)
        self._start = start(
            recipe.network, data.categories, start_from=start_from, imagenet=recipe.imagenet,
            frozen_norms=recipe.frozen_norms,
        )  # fmt: skip
        self.network = self._start.network
        if initial is not None:
            body = self._start.backbone.body
            if not isinstance(body, TinyViT):
                raise ConfigError("initial MobileSAM weights fit the backbone tiny_vit_5m alone")
            body.load_mobile_sam(initial)
        self._criterion = SetCriterion(len(data.categories), CriterionSettings(points=recipe.points))

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Backbone apart; no decay for normalisations, embeddings and position tables; frozen parameters left out."""
        slow = {id(parameter) for parameter in self._start.backbone.parameters()}
        tables = ("attention_biases", "relative_position_bias_table", "level_embed")
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for module in self.network.modules():
            free = isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d | nn.Embedding)
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad:
                    groups.setdefault((id(parameter) in slow, free or name in tables), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": learning_rate * (self.recipe.backbone_rate if backbone else 1.0),
                "weight_decay": 0.0 if free else weight_decay,
            }
            for (backbone, free), parameters in sorted(groups.items())
        ]

    def sample(self, number: int) -> list[_View]:
        """A view of one frame of one video, with pasted objects of another; every epoch in its own order.

        With supervised matching, two frames of the video in the same view.
        """
        recipe, videos = self.recipe, self._data.videos
        epoch, place = divmod(number, len(videos))
        order = np.random.default_rng((recipe.train.seed, epoch)).permutation(len(videos))
        random = np.random.default_rng((recipe.train.seed, 1, number))
        step = number // recipe.train.batch_size
        video = videos[order[place]]
        first = int(random.integers(len(video)))
        if recipe.matching_range is None:
            return [self._view(video[first], step, random)]
        second = _neighbour(video, first, recipe.matching_range, random)
        return [
            self._view(frame, step, np.random.default_rng((recipe.train.seed, 2, number)))
            for frame in (video[first], second)
        ]

    def _view(self, labels: FrameLabels, step: int, random: np.random.Generator) -> _View:
        calm = self.recipe.calm_after is not None and step >= self.recipe.calm_after
        strength = self.recipe.calm_augmentation if calm else self.recipe.augmentation
        paired = self.recipe.matching_range is not None
        loaded = labels.load()
        # Views drop instances; in a pair their places in the frame stand in for labels, to know identities by.
        source = replace(loaded, labels=np.arange(len(loaded.labels))) if paired else loaded
        frame = self._seen(source, step, strength, random)
        if random.random() < strength.paste:
            other = _any_frame(self._data.videos[int(random.integers(len(self._data.videos)))], random).load()
            frame = paste(frame, self._seen(other, step, strength, random), strength, random)
        frame = drop_small(frame, strength.least_area)
        identities: tuple[int, ...] = ()
        if paired:
            identities = tuple(labels.identities[place] for place in frame.labels)
            frame = replace(frame, labels=loaded.labels[frame.labels])
        rgb = recolour(frame.rgb, strength.colour, random) if strength.colour else frame.rgb
        return _View(replace(frame, rgb=rgb), identities, int(random.integers(2**62)))

    def _seen(
        self, frame: LabelledFrame, step: int, strength: Augmentation, random: np.random.Generator
    ) -> LabelledFrame:
        recipe = self.recipe
        if recipe.short_sides:
            side = recipe.short_sides[int(random.integers(len(recipe.short_sides)))]
            return whole_frame(frame, side, DEFAULT_MAX_SIZE, strength, random)
        return view(frame, recipe.sizes[step % len(recipe.sizes)], strength, random)

    def collate(self, samples: Sequence[list[_View]]) -> _Batch:
        """Samples as a batch; smaller frames are padded at the bottom and right."""
        views = [seen for sample in samples for seen in sample]
        sizes = [(seen.frame.rgb.shape[0], seen.frame.rgb.shape[1]) for seen in views]
        height, width = (-(-max(side) // SIZE_DIVISOR) * SIZE_DIVISOR for side in zip(*sizes, strict=True))
        pixels, targets = [], []
        for seen, (own_height, own_width) in zip(views, sizes, strict=True):
            border = (0, width - own_width, 0, height - own_height)
            rgb = torch.from_numpy(seen.frame.rgb).permute(2, 0, 1)
            pixels.append(functional.pad(rgb, border).permute(1, 2, 0))
            masks = functional.pad(torch.from_numpy(seen.frame.masks), border)
            targets.append(InstanceTargets(torch.from_numpy(seen.frame.labels), masks))
        return _Batch(
            torch.stack(pixels),
            sizes,
            targets,
            [seen.identities for seen in views],
            [seen.point_seed for seen in views],
        )

    def loss(self, batch: _Batch, device: torch.device) -> dict[str, Tensor]:
        """The set criterion over the learned queries and all decoder layers, and the hinge of supervised matching."""
        outputs, embeddings = supervised_outputs(self.network, self._pixels(batch, device))
        layers = [QueryPrediction(*output) for output in outputs]
        targets = [InstanceTargets(t.labels.to(device), t.masks.to(device)) for t in batch.targets]
        with torch.autocast(device.type, enabled=False):
            losses: dict[str, Tensor] = self._criterion.to(device)(
                layers, targets, SeededPoints(batch.point_seeds, device)
            )
            if self.recipe.matching_range is not None:
                points = SeededPoints([seed + 1 for seed in batch.point_seeds], device)
                losses["matching"] = self._matching(layers[-1], targets, batch.identities, embeddings, points)
                losses["total"] = losses["total"] + self.recipe.matching_weight * losses["matching"]
        return losses

    def _pixels(self, batch: _Batch, device: torch.device) -> Tensor:
        """Normalised input [B, 3, H, W], zero where it is padded."""
        normalisation = self._start.normalisation
        pixels = batch.pixels.to(device).permute(0, 3, 1, 2).float()
        mean = torch.tensor(normalisation.mean, device=device).view(3, 1, 1)
        std = torch.tensor(normalisation.std, device=device).view(3, 1, 1)
        pixels = (pixels - mean) / std
        for image, (height, width) in zip(pixels, batch.sizes, strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return pixels

    def _matching(
        self,
        layer: QueryPrediction,
        targets: list[InstanceTargets],
        identities: list[tuple[int, ...]],
        embeddings: Tensor,
        points: SeededPoints,
    ) -> Tensor:
        """Mean hinge loss of the pairs of frames of a batch; frames 2 i and 2 i + 1 are of one video."""
        matches = self._criterion.match(layer, targets, points)
        losses = [
            matching_loss(
                embeddings[image],
                embeddings[image + 1],
                shared_objects((identities[image], identities[image + 1]), matches[image : image + 2]),
            )
            for image in range(0, len(targets), 2)
        ]
        return torch.stack(losses).mean()

    def validate(self) -> dict[str, float]:
        """Figures of the present weights on the held-out data."""
        if self._data.validate is None:
            return {}
        # A copy: the segmenter swaps modules for ones that are faster forward and slower backward.
        model: Any = copy.deepcopy(self.network)
        on_cpu = next(model.parameters()).device.type == "cpu"
        precision = torch.bfloat16 if self.recipe.train.precision == "bf16" or not on_cpu else None
        return self._data.validate(
            Mask2FormerSegmenter(
                model, normalisation=self._start.normalisation, short_side=self.recipe.validation_short_side,
                autocast_dtype=precision,
            )
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write the network for `MinVIS.from_pretrained`; small ones in half precision."""
        self._start.save(folder, short_side=self.recipe.validation_short_side)


def _any_frame(video: Sequence[FrameLabels], random: np.random.Generator) -> FrameLabels:
    return video[int(random.integers(len(video)))]


def _neighbour(video: Sequence[FrameLabels], place: int, reach: int, random: np.random.Generator) -> FrameLabels:
    """A labelled frame at most ``reach`` frames away; the frame itself where there is no other."""
    near = [frame for frame in video if 0 < abs(frame.time - video[place].time) <= reach]
    return near[int(random.integers(len(near)))] if near else video[place]
