"""Weights that a clip encoder's backbone starts from: timm, torchvision, and transformers' ViT, DINO and VideoMAE."""

import re
from pathlib import Path

import torch
from torch import Tensor

from fewmask.errors import CheckpointError
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.retrieval.encoder import ClipNetwork

_PREFIXES = ("model.", "vit.", "videomae.", "backbone.", "module.")
_RENAMED = [
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.attention\.o_proj\.", r"blocks.\1.attn.proj."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.(?:intermediate\.dense|mlp\.fc1)\.", r"blocks.\1.mlp.fc1."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.(?:output\.dense|mlp\.fc2)\.", r"blocks.\1.mlp.fc2."),
    (r"^(?:layernorm|fc_norm)\.", "norm."),
]
_PART = re.compile(
    r"^(?:encoder\.)?layers?\.(\d+)\.attention\.(?:attention\.)?(query|key|value|q_bias|v_bias|[qkv]_proj)"
    r"(?:\.(weight|bias))?$"
)


def start_from(network: ClipNetwork, path: Path) -> None:
    """Fill the backbone from a checkpoint; the rest of the encoder keeps its own start.

    Patch filters over two frames (VideoMAE) are summed over time, which is what they do to a still picture. Classifiers
    are left out. Position codes may be missing (VideoMAE's are fixed sines): the network's own then stay.

    Raises:
        CheckpointError: the file is unreadable, or it lacks weights of the backbone or has them in other shapes.
    """
    state = _timm_names(read_checkpoint(path))
    own = network.backbone.state_dict()
    fitting = {name: value.float() for name, value in state.items() if name in own}
    for name, value in fitting.items():
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{path}: {name} has shape {list(value.shape)}, the backbone {network.config.backbone} "
                f"needs {list(own[name].shape)}"
            )
    optional = ("pos_embed", "cls_token", "num_batches_tracked")
    missing = [name for name in own if name not in fitting and not name.endswith(optional)]
    if missing:
        raise CheckpointError(f"{path}: no weights for {missing[0]} of {network.config.backbone}; another network's?")
    network.backbone.load_state_dict(fitting, strict=False)


def _timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    parts: dict[tuple[int, str], dict[str, Tensor]] = {}
    for original, value in state.items():
        name = original
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        part = _PART.match(name)
        if part:
            which, kind = part[2][0], part[3] or "bias"
            parts.setdefault((int(part[1]), kind), {})[which] = value
            continue
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if name == "patch_embed.proj.weight" and value.ndim == 5:
            value = value.sum(2)  # noqa: PLW2901 - [C, 3, 2, 16, 16]: the same picture at both times
        renamed[name] = value
    for (layer, kind), qkv in parts.items():
        # VideoMAE has no bias for keys: softmax would not notice it.
        like = next(iter(qkv.values()))
        renamed[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat([qkv.get(p, torch.zeros_like(like)) for p in "qkv"])
    return renamed
