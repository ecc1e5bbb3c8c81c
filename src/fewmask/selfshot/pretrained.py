"""Saving and loading the transformer: a folder with ``transformer.json`` and ``model.safetensors``."""

from pathlib import Path

import torch

from fewmask.errors import CheckpointError
from fewmask.media.atomic import write_json
from fewmask.media.own_files import read_json
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.models.tensors_file import refuse_larger
from fewmask.models.weights_file import WEIGHTS, halved, load_weights, save_weights
from fewmask.selfshot.backbone import Backbone
from fewmask.selfshot.transformer import CommonInstanceTransformer, TransformerConfig


def save_transformer(network: CommonInstanceTransformer, folder: Path) -> None:
    """Write the folder, weights in half precision, running statistics in float32."""
    save_weights(halved(network.state_dict()), folder)
    write_json(folder / "transformer.json", network.config.model_dump(mode="json"), indent=1)


def load_transformer(folder: str | Path, *, device: str | torch.device = "cpu") -> CommonInstanceTransformer:
    """The network that ``save_transformer`` wrote, in evaluation mode.

    Raises:
        CheckpointError: missing, damaged, or weights that do not fit the description.
    """
    path = Path(folder) / "transformer.json"
    advice = "it is not the description of a Self-Shot transformer"
    config = read_json(path, TransformerConfig, advice, error=CheckpointError)
    layers = config.encoder_layers + config.fuser_layers + config.decoder_layers
    numbers = layers * config.width * (config.width + config.feed_forward) + config.frames * config.slots * config.width
    refuse_larger(path, numbers, Path(folder) / WEIGHTS)
    try:
        network = CommonInstanceTransformer(config)
    except Exception as error:  # whatever torch makes of such a shape
        raise CheckpointError(f"{path}: describes no network that can be ({error})") from error
    load_weights(network, Path(folder))
    return network.to(device).eval()


def start_backbone(backbone: Backbone, path: Path) -> None:
    """Fill the backbone from a classifier's or detector's checkpoint with torchvision's key names.

    Weights of the last stage and the classifier are left out.

    Raises:
        CheckpointError: unreadable, or weights of the backbone are missing or have another shape.
    """
    state = read_checkpoint(path)
    prefix = "features." if backbone.name == "mobilenet_v2" else ""
    own = backbone.body.state_dict()
    fitting = {name: state[prefix + name].float() for name in own if prefix + name in state}
    wrong = next((name for name in fitting if fitting[name].shape != own[name].shape), None)
    missing = next((name for name in own if name not in fitting and not name.endswith("num_batches_tracked")), None)
    if wrong or missing:
        raise CheckpointError(f"{path}: {wrong or missing} is missing or has another shape than {backbone.name} needs")
    backbone.body.load_state_dict(fitting, strict=False)
