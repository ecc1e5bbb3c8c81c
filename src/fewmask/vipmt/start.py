"""What a network starts from: an ImageNet backbone, or weights of before but for the parts that start anew."""

from collections.abc import Sequence
from pathlib import Path

from fewmask.errors import CheckpointError
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.vipmt.model import VIPMT
from fewmask.vipmt.network import VIPMTNetwork


def load_backbone(network: VIPMTNetwork, path: Path) -> None:
    """Fill the frozen backbone from an ImageNet checkpoint; a classifier in it is left out.

    Raises:
        CheckpointError: the checkpoint lacks a tensor of the backbone.
    """
    found = read_checkpoint(path)
    expected = network.backbone.state_dict()
    filled = {key: value for key, value in found.items() if key in expected}
    missing = [key for key in expected if key not in filled and not key.endswith("num_batches_tracked")]
    if missing:
        raise CheckpointError(f"{path}: no tensor {missing[0]!r}; it is not a {network.config.backbone} checkpoint")
    network.backbone.load_state_dict(filled, strict=False)


def load_start(network: VIPMTNetwork, start_from: str | Path, anew: Sequence[str] = ()) -> None:
    """Fill ``network`` from weights of the same shape, but for parameters whose names begin with one of ``anew``.

    Raises:
        CheckpointError: no such weights, or a tensor of them that is needed is missing or has another shape.
    """
    found, own = VIPMT.from_pretrained(start_from, device="cpu").network.state_dict(), network.state_dict()
    wanted = [name for name in own if not name.startswith(tuple(anew))]
    for name in wanted:
        if name not in found or found[name].shape != own[name].shape:
            raise CheckpointError(
                f"{start_from}: no tensor {name!r} of shape {list(own[name].shape)}; use the recipe of these weights, "
                "or name the part in its 'anew'"
            )
    network.load_state_dict({name: found[name] for name in wanted}, strict=False)
