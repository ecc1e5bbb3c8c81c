"""The network of the one-stage segmenter: TinyViT-5M, a small feature pyramid, a pixel embedding, heads per place."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import ConfigError
from fewmask.models.tiny_vit import CHANNELS, TinyViT

STRIDES = (8, 16, 32)  # of the three maps whose places speak for objects
PIXEL_STRIDE = 4
FREQUENCIES = (1, 2, 4)  # half periods per frame of the position code


@dataclass(frozen=True)
class DenseShape:
    """What decides the shape of the weights.

    Attributes:
        classes: number of names, without "object" and without "no object".
        width: channels of the pyramid and the heads.
        pixel_width: channels of the pixel embedding beside its position code.
        identity: length of the identity vector.
    """

    classes: int = 80
    width: int = 128
    pixel_width: int = 96
    identity: int = 64

    def __post_init__(self) -> None:
        if min(self.classes, self.pixel_width, self.identity) < 1 or self.width < 8 or self.width % 8:
            raise ConfigError(f"impossible shape of a dense network: {self}; width must be a multiple of 8")

    def to_dict(self) -> dict[str, Any]:
        """As `DenseShape(**...)` takes it."""
        return asdict(self)


@dataclass(frozen=True)
class DensePrediction:
    """What the network says about B images of [H, W]; L = places of all three maps, map after map, row after row.

    Attributes:
        objectness: [B, L] logits: is this place the voice of an object, weighted with how good its mask is.
        classes: [B, L, K] logits.
        kernels: [B, L, D].
        identities: [B, L, E], not normalised.
        pixels: [B, D, H/4, W/4], the embedding of every pixel; a mask is sigmoid(kernel . pixels).
        places: [L, 3]: x, y of each place in input pixels, and its stride.
    """

    objectness: Tensor
    classes: Tensor
    kernels: Tensor
    identities: Tensor
    pixels: Tensor
    places: Tensor


class DenseNetwork(nn.Module):
    """Normalised images in, `DensePrediction` out."""

    def __init__(self, shape: DenseShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        code = position_channels()
        self.backbone = TinyViT()
        self.lateral_16 = nn.ModuleList([Block(CHANNELS[2], width, 1), Block(CHANNELS[3], width, 1)])
        self.lateral_8 = Block(CHANNELS[1], width, 1)
        self.lateral_4 = Block(CHANNELS[0], shape.pixel_width, 1)
        self.down = Block(width, width, 3, stride=2)
        self.context = nn.TransformerEncoderLayer(
            width, 8, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.context_place = nn.Conv2d(code, width, 1)
        self.smooth_16 = Block(width, width, 3)
        self.smooth_8 = Block(width, width, 3)
        self.pixel_in = Block(width + code, shape.pixel_width, 1)
        self.pixel_mix = Block(shape.pixel_width, shape.pixel_width, 3)
        self.pixel_out = nn.Conv2d(shape.pixel_width, shape.pixel_width, 1)
        # Maps share the weights of the heads but not their statistics.
        self.score_tower = Tower(width, width)
        self.kernel_tower = Tower(width + code, width)
        self.objectness = nn.Conv2d(width, 1, 1)
        self.classes = nn.Conv2d(width, shape.classes, 1)
        self.kernel = nn.Conv2d(width, shape.pixel_width + code + 1, 1)
        self.identity = nn.Conv2d(width, shape.identity, 1)
        nn.init.constant_(self.objectness.bias, -4.0)  # type: ignore[arg-type]
        nn.init.normal_(self.objectness.weight, std=0.01)
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.kernel.weight, std=0.01)
        nn.init.zeros_(self.kernel.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> DensePrediction:
        """Images [B, 3, H, W], normalised, sides divisible by 32."""
        c4, c8, c16, deep = self.backbone(images)
        p16 = self.lateral_16[0](c16) + self.lateral_16[1](deep)
        p32 = self._in_context(self.down(p16))
        p16 = self.smooth_16(p16 + _twice(p32))
        p8 = self.smooth_8(self.lateral_8(c8) + _twice(p16))
        maps = (p8, p16, p32)
        objectness, classes, kernels, identities = [], [], [], []
        for level, features in enumerate(maps):
            scores = self.score_tower(features, level)
            objectness.append(_rows(self.objectness(scores)))
            classes.append(_rows(self.classes(scores)))
            tower = self.kernel_tower(torch.cat((features, _code_like(features)), 1), level)
            kernels.append(_rows(self.kernel(tower)))
            identities.append(_rows(self.identity(tower)))
        return DensePrediction(
            torch.cat(objectness, 1).squeeze(-1),
            torch.cat(classes, 1),
            torch.cat(kernels, 1),
            torch.cat(identities, 1),
            self._pixels(c4, p8),
            places_of([(m.shape[-2], m.shape[-1]) for m in maps], images.device),
        )

    def _in_context(self, features: Tensor) -> Tensor:
        """The coarsest map after its places have seen one another."""
        batch, width, height, columns = features.shape
        placed = features + self.context_place(_code_like(features))
        seen: Tensor = self.context(placed.flatten(2).transpose(1, 2))
        return seen.transpose(1, 2).reshape(batch, width, height, columns)

    def _pixels(self, c4: Tensor, p8: Tensor) -> Tensor:
        coarse = self.pixel_in(torch.cat((p8, _code_like(p8)), 1))
        pixels = self.pixel_out(self.pixel_mix(self.lateral_4(c4) + _twice(coarse)))
        one = torch.ones_like(pixels[:, :1])
        return torch.cat((pixels, _code_like(pixels), one), 1)


class Block(nn.Sequential):
    """Convolution, batch normalisation, SiLU."""

    def __init__(self, channels: int, width: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width), nn.SiLU()
        )


class Tower(nn.Module):
    """Two 3x3 convolutions shared by the maps, each map with batch statistics of its own."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(size, width, 3, padding=1, bias=False) for size in (channels, width)]
        )
        self.norms = nn.ModuleList([nn.ModuleList([nn.BatchNorm2d(width) for _ in STRIDES]) for _ in range(2)])

    def forward(self, features: Tensor, level: int) -> Tensor:
        """Features [B, C, h, w] of map number ``level``."""
        for convolution, norms in zip(self.convolutions, self.norms, strict=True):
            features = functional.silu(norms[level](convolution(features)))  # type: ignore[index]
        return features


def position_channels() -> int:
    """Channels of the position code: x, y, and sine and cosine of each at every frequency."""
    return 2 + 4 * len(FREQUENCIES)


def position_code(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Where a pixel is, [1, P, h, w], values in [-1, 1]: products with it can carve out a part of the frame."""
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height * 2 - 1
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width * 2 - 1
    grid = torch.stack((x[None].expand(height, width), y[:, None].expand(height, width)))
    waves = [wave(math.pi / 2 * f * grid) for f in FREQUENCIES for wave in (torch.sin, torch.cos)]
    return torch.cat([grid, *waves])[None].to(dtype)


def places_of(sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """x, y (input pixels) and stride of every place of maps of these (h, w): [L, 3]."""
    parts = []
    for (height, width), stride in zip(sizes, STRIDES, strict=True):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        xy = (torch.stack((x, y), -1).reshape(-1, 2) + 0.5) * stride
        parts.append(torch.cat((xy, torch.full((len(xy), 1), float(stride))), 1))
    return torch.cat(parts).to(device)


def _code_like(features: Tensor) -> Tensor:
    code = position_code(features.shape[-2], features.shape[-1], features.device, features.dtype)
    return code.expand(len(features), -1, -1, -1)


def _rows(features: Tensor) -> Tensor:
    return features.flatten(2).transpose(1, 2)


def _twice(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
