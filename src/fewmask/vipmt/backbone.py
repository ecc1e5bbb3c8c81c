"""Frozen backbones behind one interface: four maps, the first at 1/4 of the input, the others at 1/8."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import ConfigError
from fewmask.models.resnet import ResNet
from fewmask.vipmt.token_masks import STRIDE

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class FrameFeatures:
    """X1..X4 of N frames: [N, C_1, H/4, W/4], then [N, C_i, h, w] with h = ceil(H / 8), w = ceil(W / 8)."""

    blocks: tuple[Tensor, Tensor, Tensor, Tensor]

    def __len__(self) -> int:
        return len(self.blocks[0])

    def take(self, indices: list[int]) -> "FrameFeatures":
        """The frames at ``indices``."""
        first, second, third, fourth = (block[indices] for block in self.blocks)
        return FrameFeatures((first, second, third, fourth))


class Backbone(Protocol):
    """What a network needs of its frozen feature extractor."""

    channels: tuple[int, int, int, int]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Normalised images [N, 3, H, W] -> four maps, shallow to deep, of any stride."""
        ...


class MobileNetV2(nn.Module):
    """torchvision's MobileNetV2 body; its ends of stages at strides 4, 8, 16 and 32.

    The last block (320 channels), made for the classifier, is left out: on unseen classes it finds a prototype's
    object far worse than the two ends of stages before it (average precision of its cosine 0.35 against 0.55 and 0.49).
    """

    channels = (24, 32, 96, 160)
    ends = (3, 6, 13, 16)

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import mobilenet_v2

        self.features: nn.Sequential = mobilenet_v2(weights=None).features[: self.ends[-1] + 1]

    def forward(self, images: Tensor) -> list[Tensor]:
        """[N, 3, H, W] -> four maps."""
        maps = []
        for index, layer in enumerate(self.features):
            images = layer(images)
            if index in self.ends:
                maps.append(images)
        return maps


class TimmBackbone(nn.Module):
    """Any timm network that can return feature maps; its last four are used (the last one repeated if it has fewer)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        import timm

        try:
            self.body = timm.create_model(name, pretrained=False, features_only=True)
        except RuntimeError as error:
            raise ConfigError(f"backbone 'timm:{name}' is not a timm network with feature maps ({error})") from error
        self.channels = _last_four(self.body.feature_info.channels())

    def forward(self, images: Tensor) -> list[Tensor]:
        """[N, 3, H, W] -> four maps."""
        maps = _last_four(self.body(images))
        return [
            feature.permute(0, 3, 1, 2) if feature.shape[1] != channels else feature
            for feature, channels in zip(maps, self.channels, strict=True)
        ]


class TransformersBackbone(nn.Module):
    """Any transformers backbone (DINOv2, DINOv3, Swin, ...): four of its stages, evenly spread to the last."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from transformers import AutoBackbone, AutoConfig

        config = AutoConfig.from_pretrained(name)
        stages = len(config.stage_names) - 1
        config.out_indices = [round(stages * part / 4) for part in (1, 2, 3, 4)]
        self.body = AutoBackbone.from_config(config)
        self.channels = _last_four(self.body.channels)
        self.patch = int(getattr(config, "patch_size", 1) or 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[N, 3, H, W] -> four maps; the input is enlarged to a multiple of the patch size."""
        height, width = (-(-side // self.patch) * self.patch for side in images.shape[-2:])
        if (height, width) != tuple(images.shape[-2:]):
            images = functional.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
        return list(_last_four(self.body(images).feature_maps))


def _last_four(values: Sequence[_Value]) -> tuple[_Value, _Value, _Value, _Value]:
    last = [*values[-4:], *[values[-1]] * (4 - len(values))]
    return last[0], last[1], last[2], last[3]


def build_backbone(name: str) -> nn.Module:
    """The backbone called ``name`` (see ``VIPMTConfig.backbone``), untrained.

    Raises:
        ConfigError: an unknown name.
    """
    if name == "resnet50_deep":
        return ResNet(stem="deep", strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    if name == "mobilenet_v2":
        return MobileNetV2()
    if name.startswith("timm:"):
        return TimmBackbone(name.removeprefix("timm:"))
    if name.startswith("transformers:"):
        return TransformersBackbone(name.removeprefix("transformers:"))
    raise ConfigError(f"backbone {name!r} is unknown; use resnet50_deep, mobilenet_v2, timm:NAME or transformers:NAME")


def align(maps: Sequence[Tensor], size: tuple[int, int]) -> FrameFeatures:
    """Four maps of a backbone on the two grids of a ``size`` (H, W) input; those of the paper's ResNet already fit."""
    height, width = size
    fine = (-(-height // (STRIDE // 2)), -(-width // (STRIDE // 2)))
    coarse = (-(-height // STRIDE), -(-width // STRIDE))

    def resized(feature: Tensor, grid: tuple[int, int]) -> Tensor:
        if tuple(feature.shape[-2:]) == grid:
            return feature
        return functional.interpolate(feature, size=grid, mode="bilinear", align_corners=False)

    first, second, third, fourth = maps
    return FrameFeatures(
        (resized(first, fine), resized(second, coarse), resized(third, coarse), resized(fourth, coarse))
    )


@torch.no_grad()
def encode(backbone: nn.Module, images: Tensor) -> FrameFeatures:
    """Normalised images [N, 3, H, W] -> features on the two grids, without gradient."""
    return align(backbone(images), (images.shape[-2], images.shape[-1]))
