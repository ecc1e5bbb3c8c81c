"""The one-stage network's folder: ``dense.json`` (shape, names, input size) and ``model.safetensors``."""

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fewmask.datasets.json_file import load_object
from fewmask.errors import CheckpointError, FewmaskError
from fewmask.media.atomic import write_json
from fewmask.minvis.dense.network import DenseNetwork, DenseShape
from fewmask.models.weights_file import WEIGHTS, halved, save_weights

DESCRIPTION = "dense.json"


def is_dense(folder: Path) -> bool:
    """Whether `save_dense` wrote that folder."""
    return (folder / DESCRIPTION).is_file()


def save_dense(network: DenseNetwork, folder: Path, *, names: tuple[str, ...], short_side: int | None) -> None:
    """Write a network, weights in half precision but running statistics in float32."""
    save_weights(halved(network.state_dict()), folder)
    write_json(
        folder / DESCRIPTION,
        {"network": network.shape.to_dict(), "names": list(names), "short_side": short_side},
        indent=2,
    )


def names_of(folder: Path) -> tuple[str, ...]:
    """The names of the classes that the network in ``folder`` knows.

    Raises:
        CheckpointError: missing or damaged.
    """
    path = folder / DESCRIPTION
    try:
        return tuple(str(name) for name in load_object(path)["names"])
    except (FewmaskError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a description of a network ({error})") from error


def load_dense_network(folder: Path) -> tuple[DenseNetwork, tuple[str, ...], int | None]:
    """The bare network in float32, the names of its classes and the short side it was trained for.

    Raises:
        CheckpointError: missing, damaged, or the weights do not fit the description.
    """
    path = folder / DESCRIPTION
    try:
        description = load_object(path)
        network = DenseNetwork(DenseShape(**description["network"]))
        names = tuple(str(name) for name in description["names"])
        short_side = None if description["short_side"] is None else int(description["short_side"])
    except (FewmaskError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a description of a network ({error})") from error
    if len(names) != network.shape.classes:
        raise CheckpointError(f"{path}: {len(names)} names for {network.shape.classes} classes")
    fill(network, folder / WEIGHTS)
    return network.eval(), names, short_side


def fill(network: DenseNetwork, path: Path, *, rows: Sequence[int | None] | None = None) -> None:
    """Fill ``network`` from a safetensors file, every tensor and no other.

    Args:
        rows: per class of the network the class of the file that it goes on from, None = it stays as it is; without
            ``rows`` the classes are the same.

    Raises:
        CheckpointError: missing, damaged, or of another shape.
    """
    try:
        state = {key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or damaged ({error})") from error
    own = network.state_dict()
    if rows is not None:
        state |= {
            key: _by_rows(state[key], own[key], rows) for key in own if key in state and key.startswith("classes.")
        }
    wrong = sorted(set(own) ^ set(state)) or [key for key in own if own[key].shape != state[key].shape]
    if wrong:
        raise CheckpointError(f"{path}: weights of another network, see {wrong[0]}")
    network.load_state_dict(state)


def _by_rows(given: Tensor, own: Tensor, rows: Sequence[int | None]) -> Tensor:
    """The weights of the class head, each class from the class of the file that it goes on from."""
    taken = own.clone()
    for row, before in enumerate(rows):
        if before is not None and before < len(given):
            taken[row] = given[before]
    return taken
