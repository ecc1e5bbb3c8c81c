"""The clip encoder Φ: a few frames in, one unit vector out, so that clips of like things lie close (Section 4).

Design choices:
- Vision transformers see all patches of all frames at once, each frame patchified by itself ("uniform frame sampling":
  5 x 196 tokens at 224 pixels), with a learned code for the frame's place added to the pretrained one for the patch.
- Any other timm network, and torchvision's MobileNetV2, is applied frame by frame; the mean of the pooled features goes
  through a residual layer, which starts as the identity: before training the embedding is that of the fixed features.
- No projection head: eq. 1 to 3 use one and the same Φ for learning and retrieval.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from fewmask.errors import CheckpointError, ConfigError, FewmaskError
from fewmask.media.atomic import write_json
from fewmask.media.own_files import read_json
from fewmask.models.imagenet_pixels import normalised
from fewmask.models.weights_file import WEIGHTS, halved, load_weights, save_weights

MOBILENET = "mobilenet_v2"


class EncoderConfig(BaseModel):
    """Shape of a clip encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = Field(default="vit_base_patch16_224", description="a timm network, or mobilenet_v2 (torchvision's)")
    frames: PositiveInt = Field(default=5, le=1024, description="pictures per clip")
    side: PositiveInt = Field(
        default=224, le=4096, description="pixels of a picture's side; a multiple of the patch size"
    )
    dimension: PositiveInt = Field(
        default=768, le=65536, description="size of the embedding; a vision transformer's own width"
    )
    backbone_options: dict[str, Annotated[int, Field(ge=0, le=8192)]] = Field(
        default_factory=dict, description="passed to timm, such as depth"
    )


PAPER = EncoderConfig()
SMALL = EncoderConfig(backbone=MOBILENET, side=160, dimension=1280)


class ClipNetwork(nn.Module):
    """Φ itself.

    Raises:
        ConfigError: timm has no such network, or it does not fit the other settings.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone, width = _backbone(config)
        self.is_transformer = hasattr(self.backbone, "patch_embed") and hasattr(self.backbone, "cls_token")
        if width != config.dimension:
            raise ConfigError(f"{config.backbone}: its features have {width} numbers; set dimension = {width}")
        if self.is_transformer:
            self.frame_code = nn.Parameter(torch.zeros(config.frames, 1, width))
        else:
            self.mix = nn.Linear(width, width)
            nn.init.zeros_(self.mix.weight)
            nn.init.zeros_(self.mix.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips uint8 [B, T, S, S, 3], T up to the configured number, as unit vectors [B, dimension].

        Features [B, width] from ``backbone_features`` may stand for clips that a frozen backbone has seen.
        """
        features = clips if clips.ndim == 2 else self.backbone_features(clips)
        if not self.is_transformer:
            features = features + self.mix(features)
        return nn.functional.normalize(features.float(), dim=-1)

    def backbone_features(self, clips: Tensor) -> Tensor:
        """What the backbone says of clips uint8 [B, T, S, S, 3]: [B, width]."""
        batch, frames = clips.shape[:2]
        pictures = normalised(clips).flatten(0, 1)  # [B * T, 3, S, S]
        if self.is_transformer:
            return self._all_patches_at_once(pictures, batch, frames)
        features: Tensor = self.backbone(pictures)
        pooled: Tensor = torch.unflatten(features, 0, (batch, frames)).mean(1)
        return pooled

    def _all_patches_at_once(self, pictures: Tensor, batch: int, frames: int) -> Tensor:
        vit: Any = self.backbone
        patches = vit.patch_embed(pictures)  # [B * T, S² / 16², C]
        first = vit.pos_embed.shape[1] - patches.shape[1]
        patches = (patches + vit.pos_embed[:, first:]).unflatten(0, (batch, frames)) + self.frame_code[:frames]
        start = vit.cls_token + (vit.pos_embed[:, :1] if first else 0)
        tokens = torch.cat([start.expand(batch, -1, -1), patches.flatten(1, 2)], 1)
        features: Tensor = vit.norm(vit.blocks(vit.norm_pre(tokens)))[:, 0]
        return features


class ClipEncoder:
    """A trained Φ as an embedder for pools; see ``ClipEmbedder``."""

    def __init__(self, network: ClipNetwork, name: str, device: torch.device) -> None:
        """Use ``from_pretrained``."""
        self.name = name
        self.dimension = network.config.dimension
        self._network = network.to(device).eval()
        self._device = device

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """The encoder that ``save_encoder`` wrote; its name is a fingerprint of the weights.

        Raises:
            CheckpointError: missing, damaged, or weights that do not fit the description.
        """
        path = Path(folder) / "encoder.json"
        config = read_json(path, EncoderConfig, "it is not the description of a clip encoder", error=CheckpointError)
        try:
            network = ClipNetwork(config)
        except FewmaskError as error:
            raise CheckpointError(f"{path}: {error}") from error
        except Exception as error:  # whatever timm makes of such options
            raise CheckpointError(f"{path}: describes no network that can be ({error})") from error
        load_weights(network, Path(folder))
        return cls(network, encoder_name(folder), torch.device(device))

    @torch.inference_mode()
    def embed(self, clips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Clips uint8 [B, T, S, S, 3] as unit vectors [B, dimension].

        Pictures are resized to the encoder's side. A ViT takes as many as it learned with, evenly spaced.
        """
        side, frames = self._network.config.side, self._network.config.frames
        if self._network.is_transformer and clips.shape[1] > frames:  # the others take the mean of any number
            clips = clips[:, np.linspace(0, clips.shape[1] - 1, frames).round().astype(int)]
        pictures = torch.from_numpy(clips)
        if pictures.shape[2] != side:
            flat = pictures.flatten(0, 1).permute(0, 3, 1, 2).float()
            flat = nn.functional.interpolate(flat, (side, side), mode="bilinear", antialias=True, align_corners=False)
            pictures = torch.unflatten(flat.round().clamp(0, 255).byte().permute(0, 2, 3, 1), 0, clips.shape[:2])
        vectors = self._network(pictures.to(self._device))
        return np.asarray(vectors.cpu().numpy(), np.float32)


def encoder_name(folder: str | Path) -> str:
    """What tells the encoder in a folder from others: a fingerprint of its weights.

    Raises:
        CheckpointError: there are none.
    """
    weights = Path(folder) / WEIGHTS
    try:
        return f"clip-encoder-{hashlib.sha256(weights.read_bytes()).hexdigest()[:12]}"
    except OSError as error:
        raise CheckpointError(f"{weights}: cannot be read ({error.strerror or error})") from error


def save_encoder(network: ClipNetwork, folder: Path) -> None:
    """Write ``encoder.json`` and ``model.safetensors`` (half precision, statistics in float32)."""
    save_weights(halved(network.state_dict()), folder)
    write_json(folder / "encoder.json", network.config.model_dump(), indent=1)


def _backbone(config: EncoderConfig) -> tuple[nn.Module, int]:
    if config.backbone == MOBILENET:
        from torchvision.models import mobilenet_v2

        network: nn.Module = mobilenet_v2()
        network.classifier = nn.Identity()
        return network, 1280
    import timm

    sized = {"img_size": config.side} if config.backbone.startswith(("vit", "deit")) else {}
    try:
        made = timm.create_model(config.backbone, num_classes=0, **sized, **config.backbone_options)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"{config.backbone}: timm cannot make it ({error}); see timm.list_models()") from error
    return made, int(made.num_features)
