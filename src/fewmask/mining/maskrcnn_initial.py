"""Where a class-agnostic Mask R-CNN starts from: one of ours, one of many classes, or an ImageNet ResNet-50."""

from pathlib import Path

from torch import nn

from fewmask.errors import CheckpointError
from fewmask.models.checkpoint_file import read_checkpoint

_OF_CLASSES = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
"""Layers whose shape depends on the number of classes."""


def load_initial(network: nn.Module, path: Path) -> list[str]:
    """Fill `maskrcnn.class_agnostic_maskrcnn` from a checkpoint; the names of the layers that stay as they were made.

    Args:
        network: changed in place.
        path: a state dict of torchvision's ``maskrcnn_resnet50_fpn`` of any number of classes (of another number than
            one the last layers start anew), or of its ``resnet50``, which fills the backbone alone.

    Raises:
        CheckpointError: unreadable, or the weights of another network.
    """
    found, own = read_checkpoint(path), network.state_dict()
    if "layer1.0.conv1.weight" in found:
        found = {f"backbone.body.{name}": value for name, value in found.items() if not name.startswith("fc.")}
        wanted = {name for name in own if name.startswith("backbone.body.")}
    else:
        anew = {n for n in own if n.startswith(_OF_CLASSES) and n in found and found[n].shape != own[n].shape}
        wanted = own.keys() - anew
    wanted = {name for name in wanted if not name.endswith("num_batches_tracked")}
    for name in sorted(wanted):
        if name not in found or found[name].shape != own[name].shape:
            raise CheckpointError(
                f"{path}: no fitting tensor {name!r}; give torchvision's resnet50 or maskrcnn_resnet50_fpn"
            )
    network.load_state_dict({name: found[name].to(own[name].dtype) for name in wanted}, strict=False)
    left = {name.rsplit(".", 1)[0] for name in own.keys() - wanted if not name.endswith("num_batches_tracked")}
    return sorted(left)
