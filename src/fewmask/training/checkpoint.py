"""Training state on disk: written whole, loaded without executing pickled code."""

import pickle
from pathlib import Path
from typing import Any

import torch

from fewmask.errors import CheckpointError
from fewmask.media.atomic import whole_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) to ``path`` whole or not at all."""
    with whole_file(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU.

    Raises:
        CheckpointError: missing, damaged, or holding anything but tensors and plain values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of a training run") from error
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{path}: not a checkpoint of a training run (no step in it)")
    return state
