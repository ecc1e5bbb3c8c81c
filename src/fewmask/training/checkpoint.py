"""Training state on disk: written whole, loaded without executing pickled code, checked before it is believed."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from fewmask.errors import CheckpointError
from fewmask.media.atomic import whole_file

_ADVICE = "restore it from a copy, or remove it and the training starts again"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) to ``path`` whole or not at all.

    Raises:
        FewmaskError: the disk is full, or the folder cannot be written.
    """
    with whole_file(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(f"disk full? {str(error).splitlines()[0]}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU.

    Raises:
        CheckpointError: missing, damaged, or holding anything but tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums and does not look at them
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path}: damaged, the checksum of {damaged} is another; {_ADVICE}")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except CheckpointError:
        raise
    except Exception as error:  # whatever zip, unpickler and torch make of damage
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of a training run; {_ADVICE}") from error
    if not isinstance(state, dict) or type(state.get("step")) is not int or state["step"] < 0:
        raise CheckpointError(f"{path}: not a checkpoint of a training run (no step in it); {_ADVICE}")
    return state
