"""A network's weights as users get them: one safetensors file, half the size, and back."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from fewmask.models.checkpoint_file import load_exactly, read_checkpoint
from fewmask.models.tensors_file import save_tensors

WEIGHTS = "model.safetensors"


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in half precision, but for whole numbers and running statistics, whose range it does not hold."""
    return {
        name: value.half() if value.is_floating_point() and "running_" not in name else value
        for name, value in state.items()
    }


def save_weights(state: Mapping[str, Tensor], folder: Path) -> None:
    """Write ``model.safetensors`` into ``folder``, which is made, whole or not at all."""
    save_tensors(folder / WEIGHTS, state)


def load_weights(network: nn.Module, folder: Path) -> None:
    """Fill a network from ``model.safetensors``, all of it, in float32.

    Raises:
        CheckpointError: missing, damaged, or weights of another network.
    """
    path = folder / WEIGHTS
    state = read_checkpoint(path)
    load_exactly(
        network, {name: value.float() if value.is_floating_point() else value for name, value in state.items()}, path
    )
