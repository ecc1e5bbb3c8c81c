"""Tensors out of other people's checkpoint files, without running any code that is in them.

Read are: safetensors; torch files (`weights_only=True`); pickles of numpy arrays as detectron2's model zoo has them,
through an unpickler that knows arrays, containers and numbers, and refuses everything else.
"""

import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from torch import Tensor, nn

from fewmask.errors import CheckpointError
from fewmask.models.tensors_file import load_tensors

_NESTS = ("model", "state_dict")  # where trainers keep the weights beside optimiser and iteration


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, on the CPU; the file's own types.

    Args:
        path: ``.safetensors``, ``.pth``/``.pt``/``.bin`` of torch, or ``.pkl`` of numpy arrays. Weights may lie under
            ``model`` or ``state_dict``; entries there that are no arrays are left out.

    Raises:
        CheckpointError: no such file, not a checkpoint, or it needs code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a .pth, .pkl or .safetensors checkpoint")
    try:
        content = _read(path)
    except CheckpointError:
        raise
    except Exception as error:  # whatever zip, unpickler and torch make of a file of others
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(f"{path}: not a checkpoint of plain tensors ({reason})") from error
    for nest in _NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            content = content[nest]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dictionary of tensors")
    if any(isinstance(value, np.ndarray) and value.dtype == object for value in content.values()):
        raise CheckpointError(f"{path}: holds an array of Python objects; only arrays of numbers are read")
    tensors = {str(name): _tensor(value) for name, value in content.items() if isinstance(value, Tensor | np.ndarray)}
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors; is it a training log or an optimiser state?")
    return tensors


def load_exactly(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Fill a network, all of it.

    Raises:
        CheckpointError: a weight is missing, superfluous or of another shape.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()[:200]
        raise CheckpointError(f"{path}: weights of another network ({reason})") from error


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_tensors(path)[0]
    with path.open("rb") as handle:
        is_zip = handle.read(2) == b"PK"
    if is_zip or path.suffix != ".pkl":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # it is refused or read; no middle ground
            return torch.load(path, map_location="cpu", weights_only=True)
    with path.open("rb") as handle:
        return _ArrayUnpickler(handle, encoding="latin1").load()


def _tensor(value: Tensor | np.ndarray[Any, Any]) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))


def _encoded(text: str, encoding: str) -> bytes:
    """How Python 2 style pickles spell bytes; other codecs are not needed and not allowed."""
    if encoding not in {"latin1", "latin-1"}:
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not read")
    return text.encode("latin1")


def _empty_array(_kind: object, _shape: object, _code: object) -> np.ndarray[Any, Any]:
    """The blank that a pickled array fills; always a plain array, whatever class the file asks for."""
    return np.empty(0, dtype=np.uint8)


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encoded,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): multiarray.scalar for core in ("core", "_core")},
}


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the few names that arrays and plain containers are pickled with."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not a plain array") from None
