"""Where a background network starts from: an earlier one, MobileSAM's encoder, or an ImageNet checkpoint."""

import re
from pathlib import Path

from torch import Tensor, nn

from fewmask.errors import CheckpointError
from fewmask.mining.background_net import BackgroundNet
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.models.tiny_vit import TinyViT

_STAGE_STARTS = (1, 2, 4, 7, 11, 14, 17)
"""torchvision's first block of each of MobileNetV2's seven stages."""


def load_initial(network: BackgroundNet, path: Path) -> None:
    """Fill ``network`` from a checkpoint.

    Args:
        network: changed in place.
        path: an earlier ``background.safetensors`` of the same shape; or a checkpoint of the backbone alone, with
            timm's names, with torchvision's (MobileNetV2), or MobileSAM's own (tiny_vit_5m).

    Raises:
        CheckpointError: unreadable, or the weights of another network.
    """
    state = {
        name: value.float() if value.is_floating_point() else value for name, value in read_checkpoint(path).items()
    }
    if any(name.startswith("to_quarter.") for name in state):
        _load(network, state, path, "background network")
    elif isinstance(network.backbone, TinyViT):
        network.backbone.load_mobile_sam(state)
    else:
        own = network.backbone.state_dict()
        named = {name: _torchvision_name(name) if "features.0.0.weight" in state else name for name in own}
        found = {name: state[source] for name, source in named.items() if source in state}
        # a count of batches seen; older checkpoints lack it, and nothing here uses it
        found |= {name: own[name] for name in own if name.endswith("num_batches_tracked") and name not in found}
        _load(network.backbone, found, path, network.config.backbone)


def _load(module: nn.Module, state: dict[str, Tensor], path: Path, what: str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: not the weights of this {what} ({reason})") from error


def _torchvision_name(timm_name: str) -> str:
    """The name in torchvision's MobileNetV2 of a tensor in timm's; unchanged where there is none."""
    if timm_name.startswith("conv_stem"):
        return timm_name.replace("conv_stem", "features.0.0")
    if timm_name.startswith("bn1"):
        return timm_name.replace("bn1", "features.0.1")
    if not re.match(r"blocks\.[0-6]\.\d+\.\w+\.\w+$", timm_name):
        return timm_name
    _, stage, block, layer, rest = timm_name.split(".", 4)
    names = (
        {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
        if stage == "0"
        else {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "conv_pwl": "2", "bn3": "3"}
    )
    return f"features.{_STAGE_STARTS[int(stage)] + int(block)}.conv.{names.get(layer, layer)}.{rest}"
