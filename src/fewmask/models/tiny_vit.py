"""TinyViT-5M as a four-map backbone, able to take the encoder weights of MobileSAM.

The last stage keeps its input's stride, as MobileSAM's encoder does, so the maps have strides 4, 8, 16 and 16
with 64, 128, 160 and 320 channels. The attention windows are 7, 7, 14 and 7 tokens wide: inputs whose sides are
multiples of 224 waste no padding, every multiple of 32 works.
"""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from fewmask.errors import CheckpointError

NAME = "tiny_vit_5m"
"""What recipes call it."""
CHANNELS = (64, 128, 160, 320)
STRIDES = (4, 8, 16, 16)


class TinyViT(nn.Module):
    """Feature maps of TinyViT-5M, deepest last."""

    channels = CHANNELS

    def __init__(self, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.body: Any = timm.create_model(
            "tiny_vit_5m_224", pretrained=False, features_only=True, drop_path_rate=drop_path
        )
        self.body.stages_3.downsample.conv2.conv.stride = (1, 1)

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        """Normalised images [B, 3, H, W], sides divisible by 32 -> four maps [B, C_i, H/s_i, W/s_i]."""
        maps: list[Tensor] = self.body(pixel_values)
        return maps

    def load_mobile_sam(self, state: dict[str, Tensor]) -> None:
        """Take the image encoder out of a MobileSAM state dict in its original key names.

        Raises:
            CheckpointError: a tensor of the encoder is missing or has another shape.
        """
        own = self.body.state_dict()
        taken = {}
        for key, value in state.items():
            name = own_name(key)
            if name is not None and name in own:
                taken[name] = value.to(torch.float32)
        missing = [key for key in own if key not in taken and not key.endswith("num_batches_tracked")]
        if missing:
            raise CheckpointError(
                f"not a MobileSAM checkpoint: {len(missing)} encoder tensors are missing, first {missing[0]}"
            )
        for key, value in taken.items():
            if value.shape != own[key].shape:
                raise CheckpointError(f"{key}: shape {tuple(value.shape)}, the encoder needs {tuple(own[key].shape)}")
        self.body.load_state_dict(taken, strict=False)


def own_name(mobile_sam_key: str) -> str | None:
    """The name here of a MobileSAM tensor, None for tensors outside the encoder's four stages."""
    prefix = "image_encoder."
    if not mobile_sam_key.startswith(prefix):
        return None
    key = mobile_sam_key.removeprefix(prefix)
    for old, new in (("patch_embed.seq.0.", "patch_embed.conv1."), ("patch_embed.seq.2.", "patch_embed.conv2.")):
        key = key.replace(old, new)
    if key.startswith("layers."):
        _, stage, rest = key.split(".", 2)
        key = f"stages_{int(stage) + 1}.{rest}" if rest.startswith("downsample.") else f"stages_{stage}.{rest}"
    elif not key.startswith("patch_embed."):
        return None
    return key.replace(".c.weight", ".conv.weight")
