"""The Mask2Former networks that recipes train from scratch: a small decoder over a light backbone.

A network is fully described by `Architecture`, which is stored beside its weights; the decoder is transformers'
own Mask2Former, so that everything that works on those works on these.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from fewmask.errors import ConfigError
from fewmask.models.tiny_vit import TinyViT


@dataclass(frozen=True)
class Architecture:
    """Shape of a Mask2Former.

    Attributes:
        backbone: ``tiny_vit_5m``, or ``timm:NAME`` for any timm network that has maps at strides 4 to 32.
        queries: number of queries Q, the most objects it can find in a frame.
        width: channels C of pixel decoder, queries and mask features; a multiple of 32.
        encoder_layers: deformable attention layers of the pixel decoder.
        decoder_layers: masked attention layers; the learned queries are supervised as one output more.
        feedforward: hidden width of both feed-forward networks.
        num_classes: K.
    """

    backbone: str = "tiny_vit_5m"
    queries: Annotated[int, Field(ge=1, le=10_000)] = 50
    width: Annotated[int, Field(ge=32, le=8192)] = 128
    encoder_layers: Annotated[int, Field(ge=1, le=64)] = 2
    decoder_layers: Annotated[int, Field(ge=1, le=64)] = 4
    feedforward: Annotated[int, Field(ge=1, le=65_536)] = 512
    num_classes: Annotated[int, Field(ge=1, le=100_000)] = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)


class _FeatureMaps(nn.Module):
    """A backbone as transformers' pixel module calls it: an object with ``feature_maps``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.frozen_norms = True

    def train(self, mode: bool = True) -> Self:
        """While ``frozen_norms``, batch normalisation keeps its pretrained statistics, as the paper's does."""
        super().train(mode)
        for module in self.modules():
            if self.frozen_norms and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, pixel_values: Tensor) -> "_FeatureMapsOutput":
        return _FeatureMapsOutput(self.body(pixel_values))


@dataclass(frozen=True)
class _FeatureMapsOutput:
    feature_maps: list[Tensor]


class _TimmMaps(nn.Module):
    """The four deepest maps of a timm network, strides 4, 8, 16, 32."""

    def __init__(self, name: str, *, imagenet: bool = False) -> None:
        super().__init__()
        import timm

        try:
            self.net: Any = timm.create_model(name, pretrained=imagenet, features_only=True)
        except Exception as error:
            raise ConfigError(f"backbone timm:{name}: {error}; see timm.list_models() for names") from error
        reductions = self.net.feature_info.reduction()
        if not {4, 8, 16, 32} <= set(reductions):
            raise ConfigError(f"backbone timm:{name} has maps at strides {reductions}, 4, 8, 16 and 32 are needed")
        self._wanted = [reductions.index(stride) for stride in (4, 8, 16, 32)]
        channels = self.net.feature_info.channels()
        self.channels = tuple(channels[i] for i in self._wanted)

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        maps = self.net(pixel_values)
        return [maps[i] for i in self._wanted]


def build(architecture: Architecture, *, imagenet: bool = False) -> Any:
    """A randomly initialised transformers ``Mask2FormerForUniversalSegmentation`` of that shape.

    Args:
        imagenet: start a timm backbone from its ImageNet weights, from timm's cache or downloaded.

    Raises:
        ConfigError: an unknown backbone, weights that cannot be had, or a width that is not a multiple of 32.
    """
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

    a = architecture
    if a.width % 32:
        raise ConfigError(f"width {a.width} must be a multiple of 32")
    # transformers builds backbones from its own registry only: make the smallest Swin, then put ours in its place.
    placeholder = SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=placeholder,
        feature_size=a.width,
        mask_feature_size=a.width,
        hidden_dim=a.width,
        encoder_feedforward_dim=a.feedforward,
        dim_feedforward=a.feedforward,
        encoder_layers=a.encoder_layers,
        decoder_layers=a.decoder_layers + 1,
        num_attention_heads=8,
        num_queries=a.queries,
        dropout=0.0,
        num_labels=a.num_classes,
        use_auxiliary_loss=False,
    )
    network = Mask2FormerForUniversalSegmentation(config)
    body: Any = TinyViT() if a.backbone == "tiny_vit_5m" else _timm_body(a.backbone, imagenet)
    pixel_level: Any = network.model.pixel_level_module
    pixel_level.encoder = _FeatureMaps(body)
    pixel_level.decoder = Mask2FormerPixelDecoder(config, feature_channels=list(body.channels))
    # Inner modules first, as transformers does: the attention layers then spread their sampling points on a ring.
    pixel_level.decoder.apply(network._init_weights)
    return network


def _timm_body(backbone: str, imagenet: bool) -> nn.Module:
    kind, _, name = backbone.partition(":")
    if kind != "timm" or not name:
        raise ConfigError(f"backbone {backbone!r} is unknown; use tiny_vit_5m or timm:NAME")
    return _TimmMaps(name, imagenet=imagenet)


def supervised_outputs(network: Any, pixel_values: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """What training sees of a network.

    Returns:
        Class logits [B, Q, K+1] and mask logits [B, Q, h, w] of the learned queries and of every decoder layer, and
        the tracking embeddings [B, Q, C] of the last.
    """
    out = network.model(pixel_values=pixel_values, output_hidden_states=True, return_dict=True)
    states = [state.transpose(0, 1) for state in out.transformer_decoder_intermediate_states]
    outputs = [
        (network.class_predictor(state), masks) for state, masks in zip(states, out.masks_queries_logits, strict=True)
    ]
    return outputs, states[-1]


def parameter_count(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast region of ``precision``: fp32, bf16 or fp16."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")
