"""Loading and saving of segmenters: our small networks, folders of transformers, hub names.

A small network is a folder with ``architecture.json`` (shape, classes, input size) and ``model.safetensors``.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from fewmask.errors import CheckpointError, FewmaskError
from fewmask.media.atomic import whole_file, write_json
from fewmask.minvis.architecture import Architecture, build
from fewmask.minvis.segmenter import Mask2FormerSegmenter, QuerySegmenter, load_segmenter

BUNDLED = "small"


def load(
    name_or_folder: str | Path = BUNDLED, *, device: str | torch.device = "cpu",
    autocast_dtype: torch.dtype | None = None,
) -> QuerySegmenter:  # fmt: skip
    """A segmenter: ``small`` (ships with fewmask), a folder, or a name on the hub.

    Raises:
        CheckpointError: nothing there, damaged, or weights of another architecture.
    """
    folder = folder_of(name_or_folder)
    if (folder / "architecture.json").is_file():
        return load_small(folder, device=device, autocast_dtype=autocast_dtype)
    if folder.is_file():
        raise CheckpointError(f"{folder}: is a file; give a folder, or make one with `fewmask convert minvis {folder}`")
    return load_segmenter(name_or_folder, device=device, autocast_dtype=autocast_dtype)


def save_small(
    network: nn.Module, architecture: Architecture, folder: Path, *, categories: list[str], short_side: int
) -> None:
    """Write a small network, its floating point weights in half precision but running statistics in float32."""
    state = {
        key: value.detach().cpu().contiguous() if "running_" in key or not value.is_floating_point()
        else value.detach().cpu().half().contiguous()
        for key, value in network.state_dict().items()
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "model.safetensors") as temporary:
        save_file(state, temporary)
    write_json(
        folder / "architecture.json",
        {"network": architecture.to_dict(), "categories": categories, "short_side": short_side},
        indent=2,
    )


def load_small(
    folder: Path, *, device: str | torch.device = "cpu", autocast_dtype: torch.dtype | None = None
) -> Mask2FormerSegmenter:
    """Read what `save_small` wrote; computes in float32 unless ``autocast_dtype`` says otherwise.

    Raises:
        CheckpointError: missing, damaged, or the weights do not fit the description.
    """
    network, short_side = load_small_network(folder)
    return Mask2FormerSegmenter(network, short_side=short_side, autocast_dtype=autocast_dtype).to(device)


def load_small_network(folder: Path) -> tuple[Any, int]:
    """The bare transformers network that `save_small` wrote, and the short side it was trained for.

    Raises:
        CheckpointError: missing, damaged, or the weights do not fit the description.
    """
    try:
        description: dict[str, Any] = json.loads((folder / "architecture.json").read_text())
        network = build(Architecture(**description["network"]))
        categories = [str(name) for name in description["categories"]]
        short_side = int(description["short_side"])
    except FewmaskError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'architecture.json'}: not a description of a network ({error})") from error
    load_weights(network, folder / "model.safetensors")
    network.config.id2label = dict(enumerate(categories))
    return network.eval(), short_side


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill ``network`` from a safetensors file, every tensor and no other.

    Raises:
        CheckpointError: missing, damaged, or of another architecture.
    """
    try:
        state = {key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or damaged ({error})") from error
    own = network.state_dict()
    for key in own:
        if key not in state:
            raise CheckpointError(f"{path}: weights of another architecture, {key} is missing")
        if state[key].shape != own[key].shape:
            raise CheckpointError(
                f"{path}: weights of another architecture, "
                f"{key} is {list(state[key].shape)}, not {list(own[key].shape)}"
            )
    extra = sorted(set(state) - set(own))
    if extra:
        raise CheckpointError(f"{path}: weights of another architecture, {extra[0]} is not part of it")
    network.load_state_dict(state)


def folder_of(name_or_folder: str | Path) -> Path:
    """Where the bundled weights lie, or the folder itself."""
    if str(name_or_folder) == BUNDLED:
        return Path(str(resources.files("fewmask.minvis") / "weights" / BUNDLED))
    return Path(name_or_folder)
