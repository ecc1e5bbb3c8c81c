"""Training of the background network: foreground is any instance (D.2.1), for the training loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from fewmask.datasets.coco import CocoDataset, CocoImage
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.mining.background_net import BackgroundNet, BackgroundNetConfig, normalised
from fewmask.training.settings import TrainSettings

ByteImage = npt.NDArray[np.uint8]

UNKNOWN = 255
"""Label of pixels that teach nothing: outside the image, or nobody knows what is there."""


class BackgroundRecipe(BaseModel):
    """All that is chosen for one training of the background network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: BackgroundNetConfig
    crop: PositiveInt = Field(default=256, description="training crops are squares of this side, a multiple of 32")
    scales: tuple[float, float] = Field(default=(0.6, 1.6), description="range of the scale augmentation")
    backbone_rate: float = Field(
        default=0.3, ge=0, description="learning rate of the backbone, as a share of the head's"
    )
    frozen: tuple[str, ...] = Field(
        default=(), description="backbone parameters whose names begin so keep their values"
    )
    settings: TrainSettings


@dataclass(frozen=True)
class Figures:
    """How well background and foreground are told apart, over all known pixels of the held-out images."""

    foreground_iou: float
    cross_entropy: float


class BackgroundTask:
    """What the training loop needs: samples are crops with a foreground map, the loss is the mean cross entropy.

    Batch normalisation of the backbone keeps its ImageNet statistics.
    """

    def __init__(
        self, network: BackgroundNet, recipe: BackgroundRecipe, train: CocoDataset, held_out: CocoDataset | None = None
    ) -> None:
        if not train.images:
            raise DatasetError(f"{train.images_root}: no image to train the background network on")
        self.network = network
        self.recipe, self.train, self.held_out = recipe, train, held_out
        for name, parameter in network.backbone.named_parameters():
            parameter.requires_grad = not name.startswith(recipe.frozen)

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Backbone and head, each with its own rate."""
        backbone = [parameter for parameter in self.network.backbone.parameters() if parameter.requires_grad]
        head = [value for name, value in self.network.named_parameters() if not name.startswith("backbone.")]
        return [
            {"params": head, "lr": learning_rate, "weight_decay": weight_decay},
            {"params": backbone, "lr": learning_rate * self.recipe.backbone_rate, "weight_decay": weight_decay},
        ]

    def sample(self, number: int) -> tuple[ByteImage, ByteImage]:
        """A crop uint8 [S, S, 3] and its map uint8 [S, S]: 1 instance, 0 background, 255 unknown or outside."""
        rng = np.random.default_rng((self.recipe.settings.seed, number))
        image = self.train.images[rng.integers(len(self.train.images))]
        rgb, foreground = picture(self.train, image), foreground_map(self.train, image)
        return _random_crop(rng, rgb, foreground, self.recipe.crop, self.recipe.scales)

    def collate(self, samples: Sequence[tuple[ByteImage, ByteImage]]) -> tuple[Tensor, Tensor]:
        """Images uint8 [B, S, S, 3] and maps uint8 [B, S, S]."""
        images, maps = zip(*samples, strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(maps))

    def loss(self, batch: tuple[Tensor, Tensor], device: torch.device) -> dict[str, Tensor]:
        """Binary cross entropy over the pixels whose label is known."""
        self.network.backbone.eval()
        images, maps = batch[0].to(device), batch[1].to(device)
        logits = self.network(normalised(images)).float()
        known = maps != UNKNOWN
        return {"total": functional.binary_cross_entropy_with_logits(logits[known], maps[known].float())}

    def validate(self) -> dict[str, float]:
        """Foreground IoU at 0.5 and cross entropy on the held-out images; empty without any."""
        if self.held_out is None or not self.held_out.images:
            return {}
        figures = evaluate(self.network, self.held_out)
        return {"foreground_iou": figures.foreground_iou, "cross_entropy": figures.cross_entropy}

    def save(self, folder: Path) -> None:
        """Weights for users, ``background.safetensors``, in half precision."""
        self.network.save_pretrained(folder / "background.safetensors", half=True)


def evaluate(network: BackgroundNet, dataset: CocoDataset) -> Figures:
    """Foreground IoU (p_b < 0.5 counts as foreground) and mean cross entropy in nats, over all known pixels."""
    intersection = union = pixels = 0
    entropy = 0.0
    network.eval()
    for image in dataset.images:
        background = network.background(picture(dataset, image)).astype(np.float64).clip(1e-6, 1 - 1e-6)
        labels = foreground_map(dataset, image)
        background, truth = background[labels != UNKNOWN], labels[labels != UNKNOWN] == 1
        found = background < 0.5
        intersection += int((truth & found).sum())
        union += int((truth | found).sum())
        entropy -= float(np.where(truth, np.log1p(-background), np.log(background)).sum())
        pixels += truth.size
    return Figures(intersection / max(union, 1), entropy / max(pixels, 1))


def picture(dataset: CocoDataset, image: CocoImage) -> ByteImage:
    """The pixels of ``image``, RGB uint8 [H, W, 3].

    Raises:
        DatasetError: the file is missing, unreadable or of another size.
    """
    return dataset.read(image)


def foreground_map(dataset: CocoDataset, image: CocoImage) -> ByteImage:
    """uint8 [H, W]: 1 where any annotation of ``image``, crowds included, has a pixel; UNKNOWN where only one has
    that is marked ``"unknown": true`` in the file, as teacher labels mark what they are not sure of; else 0."""
    labels = np.zeros((image.height, image.width), dtype=np.uint8)
    annotations = dataset.annotations_of[image.id]
    for value, wanted in ((UNKNOWN, True), (1, False)):
        masks = [a.mask for a in annotations if bool(a.extra.get("unknown")) is wanted]
        if masks:
            labels[rle.decode(rle.union(masks)) != 0] = value
    return labels


def _random_crop(
    rng: np.random.Generator, rgb: ByteImage, foreground: ByteImage, side: int, scales: tuple[float, float]
) -> tuple[ByteImage, ByteImage]:
    """Scale, mirror, crop or pad to a square, change brightness and contrast."""
    scale = float(np.exp(rng.uniform(*np.log(scales)))) * side / min(foreground.shape)
    size = tuple(max(1, round(length * scale)) for length in reversed(foreground.shape))
    rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    foreground = cv2.resize(foreground, size, interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        rgb, foreground = rgb[:, ::-1], foreground[:, ::-1]
    top, left = (int(rng.integers(max(length - side, 0) + 1)) for length in foreground.shape)
    rgb, foreground = rgb[top : top + side, left : left + side], foreground[top : top + side, left : left + side]
    gain, offset = rng.uniform(0.7, 1.3, 3), rng.uniform(-20, 20)
    square = np.zeros((side, side, 3), dtype=np.uint8)
    labels = np.full((side, side), UNKNOWN, dtype=np.uint8)
    square[: rgb.shape[0], : rgb.shape[1]] = (rgb * gain + offset).clip(0, 255)
    labels[: rgb.shape[0], : rgb.shape[1]] = foreground
    return square, labels
