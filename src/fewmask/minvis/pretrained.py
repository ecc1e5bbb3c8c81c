"""Loading and saving of segmenters: our small networks, folders of transformers, hub names.

A one-stage network is a folder with ``dense.json``, a small Mask2Former one with ``architecture.json`` (shape, classes,
input size), both with ``model.safetensors``.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field
from torch import nn

from fewmask.errors import CheckpointError, ConfigError
from fewmask.media.atomic import write_json
from fewmask.media.given_path import given_path
from fewmask.media.own_files import read_json
from fewmask.minvis.architecture import Architecture, build
from fewmask.minvis.dense.segmenter import load_dense
from fewmask.minvis.dense.weights import is_dense
from fewmask.minvis.loading import load_segmenter
from fewmask.minvis.mask2former import Mask2FormerSegmenter
from fewmask.minvis.segmenter import QuerySegmenter
from fewmask.models.tensors_file import load_tensors, refuse_larger
from fewmask.models.weights_file import halved, save_weights

BUNDLED = "small"
SHIPPED = (BUNDLED, "mask2former")
"""Names of the weights that ship with fewmask: the one-stage network, and a small Mask2Former, the paper's kind."""
CLASS_HEAD = ("class_predictor.", "criterion.")  # what depends on the number of classes
QUERIES = ("queries_features.weight", "queries_embedder.weight")


def load(
    name_or_folder: str | Path = BUNDLED, *, device: str | torch.device = "cpu",
    autocast_dtype: torch.dtype | None = None, runtime: str = "torch",
) -> QuerySegmenter:  # fmt: skip
    """A segmenter: ``small`` or ``mask2former`` (they ship with fewmask), a folder, or a name on the hub.

    Args:
        name_or_folder: the weights.
        device: where they go.
        autocast_dtype: type of matrix products, None = float32.
        runtime: what computes the network: torch, or for one-stage networks and Mask2Former onnxruntime or openvino.

    Raises:
        CheckpointError: nothing there, damaged, or weights of another architecture.
        ConfigError: weights that ``runtime`` cannot compute.
    """
    given_path(name_or_folder, "the name or folder of the weights", CheckpointError)
    folder = folder_of(name_or_folder)
    if folder.name == "model.safetensors" and folder.is_file():
        folder = folder.parent
    if is_dense(folder):
        return load_dense(folder, device=device, autocast_dtype=autocast_dtype, runtime=runtime)
    found: QuerySegmenter
    if is_small(folder):
        found = load_small(folder, device=device, autocast_dtype=autocast_dtype)
    elif folder.is_file():
        raise CheckpointError(f"{folder}: is a file; give a folder, or make one with `fewmask convert minvis {folder}`")
    else:
        name = folder if folder.is_dir() else name_or_folder
        found = load_segmenter(name, device=device, autocast_dtype=autocast_dtype)
    if runtime != "torch":
        if not isinstance(found, Mask2FormerSegmenter):
            raise ConfigError(
                f"{name_or_folder}: only one-stage networks and Mask2Former run on {runtime}; leave out --runtime"
            )
        found.compute_with(runtime)
    return found


class SmallSegmenter(Mask2FormerSegmenter):
    """A small network: transformers has no name for its backbone, so it is saved in our own format."""

    def __init__(self, model: Any, architecture: Architecture, **settings: Any) -> None:
        super().__init__(model, **settings)
        self.architecture = architecture

    def save(self, folder: str | Path) -> None:
        """Write architecture.json and model.safetensors, as `load_small` reads them."""
        names = [self.categories[index] for index in range(self.num_classes)]
        save_small(self.model, self.architecture, Path(folder), categories=names, short_side=self.short_side)


def save_small(
    network: nn.Module, architecture: Architecture, folder: Path, *, categories: list[str], short_side: int | None
) -> None:
    """Write a small network, its floating point weights in half precision but running statistics in float32."""
    save_weights(halved(network.state_dict()), folder)
    write_json(
        folder / "architecture.json",
        {"network": architecture.to_dict(), "categories": categories, "short_side": short_side},
        indent=2,
    )


def is_small(folder: Path) -> bool:
    """Whether `save_small` wrote that folder."""
    return (folder / "architecture.json").is_file()


def load_small(
    folder: Path, *, device: str | torch.device = "cpu", autocast_dtype: torch.dtype | None = None
) -> SmallSegmenter:
    """Read what `save_small` wrote; computes in float32 unless ``autocast_dtype`` says otherwise.

    Raises:
        CheckpointError: missing, damaged, or the weights do not fit the description.
    """
    network, short_side = load_small_network(folder)
    return SmallSegmenter(network, read_architecture(folder), short_side=short_side, autocast_dtype=autocast_dtype).to(
        device
    )


def load_small_network(folder: Path) -> tuple[Any, int | None]:
    """The bare transformers network that `save_small` wrote, and the short side it was trained for.

    Raises:
        CheckpointError: missing, damaged, or the weights do not fit the description.
    """
    path, weights = folder / "architecture.json", folder / "model.safetensors"
    description = _description(folder)
    shape = description.network
    layers = shape.encoder_layers + shape.decoder_layers
    refuse_larger(path, layers * shape.width * (shape.width + shape.feedforward) + shape.queries * shape.width, weights)
    try:
        network = build(shape)
    except Exception as error:  # whatever torch, timm and transformers make of such a shape
        raise CheckpointError(f"{path}: describes no network that can be ({error})") from error
    categories, short_side = description.categories, description.short_side
    load_weights(network, folder / "model.safetensors")
    network.config.id2label = dict(enumerate(categories))
    return network.eval(), short_side


def read_architecture(folder: Path) -> Architecture:
    """The shape of the network that `save_small` wrote.

    Raises:
        CheckpointError: missing, or not a description of a network.
    """
    return _description(folder).network


class _Description(BaseModel):
    """``architecture.json``."""

    network: Architecture
    categories: list[str]
    short_side: Annotated[int, Field(ge=1, le=16_384)] | None


def _description(folder: Path) -> _Description:
    path = folder / "architecture.json"
    return read_json(path, _Description, "it is not the description of a network", error=CheckpointError)


def load_weights(network: nn.Module, path: Path, *, own_heads: bool = False) -> None:
    """Fill ``network`` from a safetensors file, every tensor and no other.

    Args:
        own_heads: leave the class head as it is where the file's has another number of classes, as the paper does
            when it goes on from COCO weights; and take the first queries of a file that has more of them.

    Raises:
        CheckpointError: missing, damaged, or of another architecture.
    """
    state = {key: value.float() if value.is_floating_point() else value for key, value in load_tensors(path)[0].items()}
    own = network.state_dict()
    for key in own:
        if key not in state:
            raise CheckpointError(f"{path}: weights of another architecture, {key} is missing")
        if state[key].shape != own[key].shape:
            if own_heads and key.startswith(CLASS_HEAD):
                state[key] = own[key]
                continue
            if own_heads and key.endswith(QUERIES) and len(state[key]) > len(own[key]):
                state[key] = state[key][: len(own[key])]
                continue
            raise CheckpointError(
                f"{path}: weights of another architecture, "
                f"{key} is {list(state[key].shape)}, not {list(own[key].shape)}"
            )
    extra = sorted(set(state) - set(own))
    if extra:
        raise CheckpointError(f"{path}: weights of another architecture, {extra[0]} is not part of it")
    network.load_state_dict(state)


def folder_of(name_or_folder: str | Path = BUNDLED) -> Path:
    """Where the bundled weights lie, or the folder itself."""
    if str(name_or_folder) in SHIPPED:
        return Path(str(resources.files("fewmask.minvis") / "weights" / str(name_or_folder)))
    return Path(name_or_folder)
