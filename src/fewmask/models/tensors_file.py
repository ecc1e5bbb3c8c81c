"""Tensors in a safetensors file with a checksum in its metadata, so that a flipped bit is not taken for a weight."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fewmask.errors import CheckpointError
from fewmask.media.atomic import whole_file

_CHECKSUM = "sha256"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write the tensors, on whatever device, whole or not at all; ``format`` is "pt", as transformers wants it.

    Raises:
        FewmaskError: the folder cannot be written.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    about = {"format": "pt", **(metadata or {}), _CHECKSUM: _checksum(plain)}
    with whole_file(path) as temporary:
        try:
            save_file(plain, temporary, about)
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(str(error)) from error
        _put_in_order(temporary)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and its metadata; files of others have no checksum to be checked.

    Raises:
        CheckpointError: missing, damaged, or no safetensors file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            about: dict[str, str] = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:  # its own errors, but also OSError, KeyError, RuntimeError, as the damage has it
        raise CheckpointError(
            f"{path}: not a safetensors file, or damaged ({error}); fetch or make it again"
        ) from error
    if _CHECKSUM in about and about[_CHECKSUM] != _checksum(tensors):
        raise CheckpointError(f"{path}: damaged, its checksum is another; fetch or make it again")
    return tensors, about


def refuse_larger(description: Path, numbers: int, weights: Path) -> None:
    """Refuse a description of a network with more numbers than its weights file has bits, before it takes memory.

    Args:
        numbers: what the network has at the very least.

    Raises:
        CheckpointError: the file is missing or smaller.
    """
    if not weights.is_file():
        raise CheckpointError(f"{weights}: no such file")
    if numbers > 8 * weights.stat().st_size:
        raise CheckpointError(f"{description}: describes a larger network than the one in {weights.name}")


def _put_in_order(path: Path) -> None:
    """Sort the metadata, which the library writes in another order every time: equal weights are to be equal files."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:
            file.seek(8)
            file.write(text.ljust(size))


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}\0{value.dtype}\0{list(value.shape)}\0".encode())
        if math.prod(value.shape):
            flat: Any = value.contiguous().reshape(-1).view(torch.uint8)
            digest.update(memoryview(flat.numpy()))
    return digest.hexdigest()
