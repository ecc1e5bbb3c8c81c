"""Teach the MobileNetV2 of the small configuration what classes look like, before VIPMT freezes it.

Not in the paper, whose backbone knows ImageNet's labels alone. A thousand classes told apart by one vector a picture
leave maps that say poorly *where* a class is; some labelled pictures teach them. The head is a cosine classifier on
what VIPMT fuses and its prior compares: the fused blocks, each of unit length.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from fewmask.datasets.coco import CocoDataset, CocoImage
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.image_files import read_rgb
from fewmask.models.tensors_file import save_tensors
from fewmask.training.settings import TrainSettings
from fewmask.vipmt.backbone import MobileNetV2
from fewmask.vipmt.crops import random_crop
from fewmask.vipmt.letterbox import normalise

UNKNOWN = 255
"""Label of pixels that teach nothing: classes held out, crowds, what a teacher was not sure of, outside the picture."""


class BackboneRecipe(BaseModel):
    """One training of the backbone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop: PositiveInt = Field(256, description="training crops are squares of this side, a multiple of 32")
    scales: tuple[float, float] = Field((0.7, 2.0), description="range of the scale augmentation")
    first_trained: int = Field(
        7, ge=0, description="blocks of torchvision's `features` before this one stay as they are"
    )
    backbone_rate: float = Field(0.2, gt=0, description="learning rate of the backbone relative to the classifier's")
    background_weight: float = Field(
        0.4, ge=0, description="weight of background pixels in the loss; the others have 1"
    )
    temperature: float = Field(0.07, gt=0, description="cosines are divided by it")
    train: TrainSettings


class PixelClassifier(nn.Module):
    """MobileNetV2 and a cosine classifier on its fused blocks."""

    def __init__(self, backbone: MobileNetV2, classes: int, fused: tuple[int, int], temperature: float) -> None:
        super().__init__()
        self.backbone, self.fused, self.temperature = backbone, fused, temperature
        channels = sum(backbone.channels[block - 1] for block in fused)
        self.directions = nn.Parameter(torch.randn(classes, channels))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised [N, 3, H, W] -> logits [N, classes, h, w] on the grid of the first fused block."""
        maps = self.backbone(images)
        chosen = [functional.normalize(maps[block - 1], dim=1) for block in self.fused]
        grid = chosen[0].shape[-2:]
        fused = torch.cat(
            [functional.interpolate(x, grid, mode="bilinear", align_corners=False) for x in chosen], dim=1
        )
        cosines = functional.conv2d(
            functional.normalize(fused, dim=1), functional.normalize(self.directions, dim=1)[:, :, None, None]
        )
        return cosines / self.temperature + self.bias[:, None, None]


class BackboneTask:
    """The `TrainTask`: crops with a label for every pixel, 0 = background.

    Args:
        recipe: what to train.
        network: its classes are background and ``dataset``'s categories in ascending order of their ids.
        dataset: pictures to train on.
        held_out: names of classes whose pixels teach nothing, as if they were not there.

    Raises:
        DatasetError: no picture.
    """

    network: nn.Module

    def __init__(
        self, recipe: BackboneRecipe, network: PixelClassifier, dataset: CocoDataset, held_out: Collection[str] = ()
    ) -> None:
        if not dataset.images:
            raise DatasetError(f"{dataset.images_root}: no picture to train the backbone on")
        self.recipe, self.dataset = recipe, dataset
        self.network = self._classifier = network
        self._label = {
            key: UNKNOWN if name in held_out else place
            for place, (key, name) in enumerate(sorted(dataset.categories.items()), start=1)
        }
        for index, block in enumerate(network.backbone.features):
            block.requires_grad_(index >= recipe.first_trained)

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Classifier and backbone, each with its own rate."""
        backbone = [p for p in self._classifier.backbone.parameters() if p.requires_grad]
        return [
            {"params": [self._classifier.directions, self._classifier.bias], "lr": learning_rate, "weight_decay": 0.0},
            {"params": backbone, "lr": learning_rate * self.recipe.backbone_rate, "weight_decay": weight_decay},
        ]

    def sample(self, number: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """A crop uint8 [S, S, 3] and its labels uint8 [S, S]."""
        rng = np.random.default_rng((self.recipe.train.seed, number))
        image = self.dataset.images[rng.integers(len(self.dataset.images))]
        return random_crop(
            rng,
            read_rgb(self.dataset.path_of(image)),
            self.labels(image),
            self.recipe.crop,
            self.recipe.scales,
            UNKNOWN,
        )

    def labels(self, image: CocoImage) -> npt.NDArray[np.uint8]:
        """A label for every pixel of a picture, uint8 [H, W]; smaller objects lie over larger ones."""
        labels = np.zeros((image.height, image.width), dtype=np.uint8)
        annotations = self.dataset.annotations_of[image.id]
        sure = [a for a in annotations if not a.iscrowd and not a.extra.get("unknown")]
        unsure = [a for a in annotations if a.iscrowd or a.extra.get("unknown")]
        for annotation in unsure:
            labels[rle.decode(annotation.mask) != 0] = UNKNOWN
        for annotation in sorted(sure, key=lambda a: -rle.area(a.mask)):
            labels[rle.decode(annotation.mask) != 0] = self._label[annotation.category_id]
        return labels

    def collate(self, samples: Sequence[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]) -> tuple[Tensor, Tensor]:
        """Normalised pictures [B, 3, S, S] and labels [B, S, S]."""
        pictures, labels = zip(*samples, strict=True)
        return normalise(np.stack(pictures)), torch.from_numpy(np.stack(labels)).long()

    def loss(self, batch: tuple[Tensor, Tensor], device: torch.device) -> dict[str, Tensor]:
        """Cross entropy over the cells whose label is known; normalisation keeps ImageNet's statistics."""
        self._classifier.backbone.eval()
        pictures, labels = batch[0].to(device), batch[1].to(device)
        logits = self.network(pictures).float()
        stride = labels.shape[-1] // logits.shape[-1]
        cells = labels[:, stride // 2 :: stride, stride // 2 :: stride]
        each = functional.cross_entropy(logits, cells, ignore_index=UNKNOWN, reduction="none")
        weight = torch.where(cells == 0, self.recipe.background_weight, 1.0) * (cells != UNKNOWN)
        return {"total": (each * weight).sum() / weight.sum().clamp(min=1)}

    def validate(self) -> dict[str, float]:
        """None: what counts is what VIPMT makes of the features."""
        return {}

    def save(self, folder: Path) -> None:
        """``backbone.safetensors``, which `fewmask train vipmt --backbone` takes."""
        save_tensors(folder / "backbone.safetensors", self._classifier.backbone.state_dict())
