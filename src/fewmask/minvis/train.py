"""Training an image segmenter for MinVIS on labelled frames (Section 3.2, appendix recipes).

Frames are independent, so still pictures and single frames of a video are the same thing here.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from fewmask.datasets.coco import CocoDataset, CocoImage
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.minvis.architecture import Architecture, build, supervised_outputs
from fewmask.minvis.augment import Augmentation, LabelledFrame, drop_small, paste, recolour, view
from fewmask.minvis.coco_figures import coco_figures
from fewmask.minvis.pretrained import save_small
from fewmask.minvis.segmenter import Mask2FormerSegmenter, PixelNormalisation
from fewmask.models.set_criterion import (
    CriterionSettings,
    InstanceTargets,
    QueryPrediction,
    SeededPoints,
    SetCriterion,
)
from fewmask.training.settings import TrainSettings


class MinvisRecipe(BaseModel):
    """One trained model: network, data rules, views and optimisation. Stored as TOML under recipes/minvis/."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Architecture = Field(default_factory=Architecture)
    class_agnostic: bool = Field(True, description="all categories become one class, object")
    hold_out: int = Field(0, ge=0, description="images whose id is divisible by this are for validation; 0 = none")
    require: str | None = Field(None, description="use only images with this field true in the file")
    sizes: tuple[tuple[int, int], ...] = Field(
        ((224, 320),), description="sizes (H, W) of the views, in turn from step to step; multiples of 32"
    )
    validation_short_side: int = 256
    augmentation: Augmentation = Field(default_factory=Augmentation)
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
    """The `TrainTask` of a MinVIS segmenter on a COCO-format dataset.

    Args:
        recipe: what to train.
        dataset: labelled pictures.
        initial: MobileSAM state dict (original key names) for the backbone, or None.

    Raises:
        DatasetError: no picture is left to train on.
    """

    network: nn.Module

    def __init__(self, recipe: MinvisRecipe, dataset: CocoDataset, initial: dict[str, Tensor] | None = None) -> None:
        self.recipe = recipe
        self._dataset = dataset
        usable = [image for image in dataset.images if recipe.require is None or image.extra.get(recipe.require)]
        held_out = {image.id for image in usable if recipe.hold_out and image.id % recipe.hold_out == 0}
        self._training = [image for image in usable if image.id not in held_out]
        self._held_out = [image for image in usable if image.id in held_out]
        self._frames: dict[int, tuple[bytes, list[rle.Rle], list[int]]] = {}
        self._label_of = {
            category: 0 if recipe.class_agnostic else index for index, category in enumerate(sorted(dataset.categories))
        }
        if not self._training:
            raise DatasetError(f"{dataset.images_root}: no picture left to train on; check hold_out and require")
        torch.manual_seed(recipe.train.seed)
        self.network = build(recipe.network)
        if initial is not None:
            self.network.model.pixel_level_module.encoder.body.load_mobile_sam(initial)  # type: ignore[union-attr, operator]
        self._criterion = SetCriterion(recipe.network.num_classes, CriterionSettings(points=recipe.points))

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
        """A view of one training picture, with pasted objects of another; every epoch in its own order."""
        recipe = self.recipe
        epoch, place = divmod(number, len(self._training))
        order = np.random.default_rng((recipe.train.seed, epoch)).permutation(len(self._training))
        random = np.random.default_rng((recipe.train.seed, 1, number))
        size = recipe.sizes[(number // recipe.train.batch_size) % len(recipe.sizes)]
        frame = view(self._load(self._training[order[place]]), size, recipe.augmentation, random)
        if random.random() < recipe.augmentation.paste:
            other = self._training[int(random.integers(len(self._training)))]
            frame = paste(
                frame, view(self._load(other), size, recipe.augmentation, random), recipe.augmentation, random
            )
        frame = drop_small(frame, recipe.augmentation.least_area)
        rgb = recolour(frame.rgb, recipe.augmentation.colour, random) if recipe.augmentation.colour else frame.rgb
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
        """Class-agnostic mask AP, AP50 and AR10 on the held-out pictures."""
        if not self._held_out:
            return {}
        return coco_figures(self._segmenter(), self._dataset, self._held_out)

    def save(self, folder: Path) -> None:
        """Write the network for `MinVIS.from_pretrained`, in half precision."""
        names = ["object"] if self.recipe.class_agnostic else [
            self._dataset.categories[key] for key in sorted(self._dataset.categories)
        ]  # fmt: skip
        save_small(self.network, self.recipe.network, folder, categories=names,
                   short_side=self.recipe.validation_short_side)  # fmt: skip

    def _segmenter(self) -> Mask2FormerSegmenter:
        # A copy: the segmenter swaps modules for ones that are faster forward and slower backward.
        model: Any = copy.deepcopy(self.network)
        return Mask2FormerSegmenter(model, short_side=self.recipe.validation_short_side, autocast_dtype=torch.bfloat16)

    def _load(self, image: CocoImage) -> LabelledFrame:
        import cv2

        if image.id not in self._frames:
            path = self._dataset.path_of(image)
            try:
                data = path.read_bytes()
            except OSError as error:
                raise DatasetError(f"{path}: picture of image {image.id} cannot be read") from error
            annotations = [a for a in self._dataset.annotations_of[image.id] if not a.iscrowd]
            self._frames[image.id] = (
                data, [a.mask for a in annotations], [self._label_of[a.category_id] for a in annotations]
            )  # fmt: skip
        data, masks, labels = self._frames[image.id]
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if decoded is None or decoded.shape[:2] != (image.height, image.width):
            raise DatasetError(
                f"{self._dataset.path_of(image)}: not a readable picture of {image.width}x{image.height} pixels"
            )
        bitmaps = rle.decode_many(masks) if masks else np.zeros((0, image.height, image.width), dtype=bool)
        return LabelledFrame(np.asarray(decoded, np.uint8), bitmaps, np.asarray(labels, dtype=np.int64))
