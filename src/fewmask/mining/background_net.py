"""The network f of the background cue: a feature pyramid that tells instances from background (Sec. 3.2.1, D.2.1).

The head is the semantic branch of panoptic feature pyramids: every level is brought to 1/4 scale by 3x3 convolutions
and bilinear doubling, the levels are added, one 1x1 convolution gives the logit.
"""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import timm
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from fewmask.errors import CheckpointError
from fewmask.models import tiny_vit
from fewmask.models.tensors_file import load_tensors, refuse_larger, save_tensors

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
BUNDLED = Path(__file__).parent / "weights" / "background.safetensors"
_STRIDES = (4, 8, 16, 32)
_MOST_LONG = 8  # longer side of what the network sees, as a multiple of the shorter one it is made for


class BackgroundNetConfig(BaseModel):
    """Shape of the network and the size at which it looks at frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = Field(
        default="mobilenetv2_100",
        description="tiny_vit_5m (MobileSAM's encoder), or a timm model with features at strides 4, 8, 16 and 32",
    )
    width: PositiveInt = Field(default=64, description="channels of the pyramid and of the head; a multiple of 8")
    short_side: PositiveInt = Field(default=288, description="frames are resized to this shorter side, in pixels")


class BackgroundNet(nn.Module):
    """Images in, foreground logits out."""

    def __init__(self, config: BackgroundNetConfig, *, imagenet: bool = False) -> None:
        """``imagenet``: start the backbone from timm's ImageNet weights (from its cache, or downloaded)."""
        super().__init__()
        self.config = config
        self.backbone: Any
        if config.backbone == tiny_vit.NAME:
            self.backbone = tiny_vit.TinyViT()
            described = list(zip(tiny_vit.CHANNELS, tiny_vit.STRIDES, strict=True))
        else:
            self.backbone = timm.create_model(config.backbone, pretrained=imagenet, features_only=True)
            info = self.backbone.feature_info
            described = list(zip(info.channels(), info.reduction(), strict=True))
        self._levels = [i for i, (_, stride) in enumerate(described) if stride in _STRIDES]
        levels = [described[i] for i in self._levels]
        width = config.width
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels, _ in levels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in levels)
        self.to_quarter = nn.ModuleList(
            _to_quarter_scale(width, doublings=round(math.log2(stride / _STRIDES[0]))) for _, stride in levels
        )
        self.logit = nn.Conv2d(width, 1, 1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Normalised RGB images [B, 3, H, W], sides divisible by 32 -> foreground logits [B, H, W]."""
        maps = self.backbone(pixel_values)
        levels = [lateral(maps[i]) for i, lateral in zip(self._levels, self.lateral, strict=True)]
        for fine in range(len(levels) - 2, -1, -1):
            size = levels[fine].shape[-2:]
            levels[fine] = levels[fine] + functional.interpolate(levels[fine + 1], size=size, mode="nearest")
        total = torch.stack(
            [branch(smooth(level)) for branch, smooth, level in zip(self.to_quarter, self.smooth, levels, strict=True)]
        ).sum(0)
        logits = self.logit(total)  # [B, 1, H/4, W/4]
        return functional.interpolate(logits, scale_factor=4.0, mode="bilinear", align_corners=False)[:, 0]

    @torch.no_grad()
    def background(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """One frame uint8 [H, W, 3] -> probability of background float32 [H, W], Bg(I_t) of Eq. 3."""
        height, width = rgb.shape[:2]
        # A sliver of a frame would become a wall of pixels.
        scale = min(
            self.config.short_side / min(height, width), _MOST_LONG * self.config.short_side / max(height, width)
        )
        rows, columns = (max(32, round(side * scale / 32) * 32) for side in (height, width))
        small = cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        device = next(self.parameters()).device
        logits = self(normalised(torch.from_numpy(small).to(device)[None]))[0]
        probability = torch.sigmoid(-logits.float()).cpu().numpy()
        full: npt.NDArray[np.float32] = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
        return full.clip(0, 1)

    def save_pretrained(self, path: Path, *, half: bool = False) -> None:
        """Write weights and configuration to one safetensors file; ``half`` stores float16."""
        state = self.state_dict()
        if half:
            state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
        save_tensors(path, state, {"background_net": self.config.model_dump_json()})

    @classmethod
    def from_pretrained(cls, path: Path | None = None, device: torch.device | str = "cpu") -> "BackgroundNet":
        """The network of `save_pretrained`, in float32 and ready to use; without ``path`` the bundled one.

        Raises:
            CheckpointError: no such file, or not the weights of a background network.
        """
        path = BUNDLED if path is None else path
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; train one with `fewmask train background`")
        state, about = load_tensors(path)
        try:
            config = BackgroundNetConfig.model_validate_json(about["background_net"])
            refuse_larger(path, config.width * config.width, path)
            network = cls(config)
            network.load_state_dict(state)
        except CheckpointError:
            raise
        except Exception as error:  # whatever torch and timm make of such a shape
            raise CheckpointError(f"{path}: not the weights of a background network") from error
        return network.to(device).eval()


def normalised(rgb: Tensor) -> Tensor:
    """Images uint8 [B, H, W, 3] as the backbone expects them, float [B, 3, H, W]."""
    mean, std = (torch.tensor(values, device=rgb.device)[:, None, None] for values in (MEAN, STD))
    return (rgb.permute(0, 3, 1, 2).float() / 255 - mean) / std


def _to_quarter_scale(width: int, doublings: int) -> nn.Sequential:
    """3x3 convolution, group norm, ReLU and doubling, ``doublings`` times; at least one convolution."""
    layers: list[nn.Module] = []
    for i in range(max(doublings, 1)):
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(8, width), nn.ReLU(inplace=True)]
        if i < doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)
