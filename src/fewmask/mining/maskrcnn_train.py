"""Training of the paper's proposal network, the class-agnostic Mask R-CNN, on COCO pictures (D.1, Sec. 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from fewmask.datasets.coco import CocoDataset, CocoImage
from fewmask.datasets.coco_results import CocoResult
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.metrics import evaluate_coco
from fewmask.mining.maskrcnn import MaskRcnnProposals
from fewmask.mining.proposals import RgbImage
from fewmask.models.tensors_file import save_tensors
from fewmask.training.settings import TrainSettings


class MaskRcnnRecipe(BaseModel):
    """All that is chosen for one training of the Mask R-CNN."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    short_side: PositiveInt = Field(default=800, description="pictures are resized to this shorter side, 1333 at most")
    backbone_rate: float = Field(default=1.0, ge=0, description="learning rate of the backbone relative to the rest")
    train: TrainSettings


@dataclass(frozen=True)
class _Batch:
    images: list[Tensor]
    targets: list[dict[str, Tensor]]
    seed: int


class MaskRcnnTask:
    """What the training loop needs: pictures, mirrored or not, with the boxes and masks of all objects as one class.

    Batch normalisation of the backbone keeps its statistics, as in the official recipes of Mask R-CNN.
    """

    def __init__(
        self,
        recipe: MaskRcnnRecipe,
        weights: Path | nn.Module,
        train: Sequence[CocoDataset],
        held_out: CocoDataset | None = None,
        *,
        frozen_norms: bool = True,
    ) -> None:
        """Start from the weights of `MaskRcnnProposals`, or from a network made elsewhere.

        Args:
            recipe: optimisation and size.
            weights: a state dict of `fewmask.mining.maskrcnn.class_agnostic_maskrcnn`, or that network.
            train: datasets to mix; crowds are no targets, pictures without objects are left out.
            held_out: what `validate` measures on; None = nothing.
            frozen_norms: False where the network starts from nothing and has no statistics to keep.

        Raises:
            CheckpointError: the weights of another network.
            DatasetError: no picture to train on.
        """
        self.proposals = MaskRcnnProposals(weights, short_side=recipe.short_side)
        self.network = self.proposals.network
        self.recipe, self.held_out = recipe, held_out
        self._pictures = [
            (dataset, image)
            for dataset in train
            for image in dataset.images
            if any(not annotation.iscrowd for annotation in dataset.annotations_of[image.id])
        ]
        if not self._pictures:
            raise DatasetError("no picture with an object to train Mask R-CNN on")
        for module in self.network.modules():
            if frozen_norms and isinstance(module, nn.BatchNorm2d):
                module.__class__ = _FrozenNorm  # same parameters and names, another mode
                module.requires_grad_(False)

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Backbone and heads, each with its own rate."""
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                groups[name.startswith("backbone.body")].append(parameter)
        return [
            {"params": groups[False], "lr": learning_rate, "weight_decay": weight_decay},
            {"params": groups[True], "lr": learning_rate * self.recipe.backbone_rate, "weight_decay": weight_decay},
        ]

    def sample(self, number: int) -> tuple[Tensor, dict[str, Tensor]]:
        """A picture [3, H, W] in [0, 1] and its targets; every epoch in its own order."""
        epoch, place = divmod(number, len(self._pictures))
        order = np.random.default_rng((self.recipe.train.seed, epoch)).permutation(len(self._pictures))
        dataset, image = self._pictures[order[place]]
        rgb = _read(dataset, image)
        annotations = [annotation for annotation in dataset.annotations_of[image.id] if not annotation.iscrowd]
        masks = rle.decode_many([annotation.mask for annotation in annotations])
        masks = masks[masks.any(axis=(1, 2))]
        if np.random.default_rng((self.recipe.train.seed, 1, number)).random() < 0.5:
            rgb, masks = np.ascontiguousarray(rgb[:, ::-1]), np.ascontiguousarray(masks[:, :, ::-1])
        targets = {
            "boxes": torch.tensor([_box(mask) for mask in masks], dtype=torch.float32).reshape(-1, 4),
            "labels": torch.ones(len(masks), dtype=torch.int64),
            "masks": torch.from_numpy(masks.astype(np.uint8)),
        }
        return torch.from_numpy(rgb).permute(2, 0, 1).float() / 255, targets

    def collate(self, samples: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> _Batch:
        """Pictures of any size as a batch."""
        seed = int(sum(float(image.sum()) for image, _ in samples)) % 2**31
        return _Batch([image for image, _ in samples], [targets for _, targets in samples], seed)

    def loss(self, batch: _Batch, device: torch.device) -> dict[str, Tensor]:
        """torchvision's five losses and their sum."""
        targets = [{name: value.to(device) for name, value in entry.items()} for entry in batch.targets]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch.seed)  # it draws boxes at random; a resumed run must draw the same ones
            losses: dict[str, Tensor] = self.network([image.to(device) for image in batch.images], targets)
        return {**losses, "total": torch.stack(list(losses.values())).sum()}

    def validate(self) -> dict[str, float]:
        """Class-agnostic AP, AP50, AP75, AR1, AR3 and AR5 on the held-out pictures."""
        if self.held_out is None:
            return {}
        self.network.eval()
        results = []
        for image in self.held_out.images:
            masks, scores = self.proposals.propose(_read(self.held_out, image))
            codes = rle.encode_many(masks) if len(masks) else []
            results += [CocoResult(image.id, 1, float(score), code) for code, score in zip(codes, scores, strict=True)]
        figures = evaluate_coco(self.held_out, results)
        return {name: value for name, value in figures.items() if value is not None}

    def save(self, folder: Path) -> None:
        """Write model.safetensors, for `MaskRcnnProposals`."""
        save_tensors(folder / "model.safetensors", self.network.state_dict())


class _FrozenNorm(nn.BatchNorm2d):
    """Batch normalisation that stays in evaluation mode, whatever mode the network around it is in."""

    def train(self, mode: bool = True) -> "_FrozenNorm":
        """Has no effect; ``mode`` is ignored."""
        del mode
        return super().train(False)


def _read(dataset: CocoDataset, image: CocoImage) -> RgbImage:
    return dataset.read(image)


def _box(mask: Any) -> list[int]:
    """x0, y0, x1, y1 around the pixels of a mask, the ends beyond its last ones."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
