"""Where a training starts: a small network at random, the weights of an earlier training, or any Mask2Former of
transformers, official checkpoints through `fewmask convert minvis` included.

The paper goes on from COCO weights; a class head of another number of classes then starts at random (FACTS: official).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from fewmask.errors import CheckpointError, ConfigError
from fewmask.minvis.architecture import Architecture, build
from fewmask.minvis.dense.weights import is_dense
from fewmask.minvis.pixels import PixelNormalisation
from fewmask.minvis.preprocessor import read_preprocessor, write_preprocessor
from fewmask.minvis.pretrained import folder_of, is_small, load_weights, read_architecture, save_small

_ENCODER = "model.pixel_level_module.encoder"


@dataclass(frozen=True)
class Start:
    """A network in training.

    Attributes:
        network: transformers' ``Mask2FormerForUniversalSegmentation``.
        architecture: its shape; None where transformers' own configuration says it.
        normalisation: of the input pixels.
    """

    network: Any
    architecture: Architecture | None
    normalisation: PixelNormalisation

    @property
    def backbone(self) -> Any:
        """The part that learns more slowly."""
        return self.network.get_submodule(_ENCODER)

    def save(self, folder: Path, *, short_side: int) -> None:
        """Write the weights for `MinVIS.from_pretrained`; a small network's in half precision."""
        if self.architecture is not None:
            names = [self.network.config.id2label[index] for index in range(self.architecture.num_classes)]
            save_small(self.network, self.architecture, folder, categories=names, short_side=short_side)
        else:
            self.network.save_pretrained(folder)
            write_preprocessor(folder, self.normalisation, short_side)


def start(
    shape: Architecture | None,
    categories: Sequence[str],
    *,
    start_from: str | Path | None = None,
    imagenet: bool = False,
    frozen_norms: bool = True,
) -> Start:
    """The network a training begins with.

    Args:
        shape: of a small network; None = that of ``start_from``, or the default one. ``num_classes`` is taken from
            ``categories``; with fewer queries than ``start_from`` has, the first of those.
        categories: class names by label.
        start_from: ``mask2former`` (ships with fewmask), a folder of an earlier training, a folder that transformers or
            `fewmask convert minvis` wrote, or a hub name; None = at random.
        imagenet: a timm backbone starts from its ImageNet weights.
        frozen_norms: batch norms of the backbone keep their statistics; in a Mask2Former of transformers their scale
            and shift too, as in the official recipes.

    Raises:
        CheckpointError: nothing at ``start_from``, or weights of another shape.
        ConfigError: settings that exclude one another.
    """
    names = dict(enumerate(categories))
    folder = None if start_from is None else folder_of(start_from)
    if folder is not None and is_dense(folder):
        raise ConfigError(
            f'{start_from}: a one-stage network; give the recipe kind = "dense", or start from mask2former'
        )
    if start_from is None or folder is None or is_small(folder):
        if folder is not None and shape is None:
            shape = read_architecture(folder)
        shape = replace(shape or Architecture(), num_classes=len(categories))
        network = build(shape, imagenet=imagenet)
        network.get_submodule(_ENCODER).frozen_norms = frozen_norms
        if folder is not None:
            load_weights(network, folder / "model.safetensors", own_heads=True)
        network.config.id2label = names
        return Start(network, shape, PixelNormalisation())
    if shape is not None or imagenet:
        raise ConfigError(f"{start_from}: brings its own network; leave [network] and imagenet out of the recipe")
    network = _of_transformers(str(start_from), names)
    network.criterion.empty_weight.fill_(1.0)[-1] = network.config.no_object_weight  # undefined after a new head
    backbone = network.get_submodule(_ENCODER)
    if frozen_norms:
        _freeze_norms(backbone)
    for name, parameter in backbone.named_parameters():
        if name.startswith("swin.layernorm."):  # of a classifier that is not there
            parameter.requires_grad_(False)
    return Start(network, None, read_preprocessor(str(start_from))[0])


def _of_transformers(name: str, names: dict[int, str]) -> Any:
    from transformers import Mask2FormerForUniversalSegmentation, PreTrainedConfig

    try:
        config, _ = PreTrainedConfig.get_config_dict(name)
        if config.get("model_type") != "mask2former":
            raise CheckpointError(f"{name}: a {config.get('model_type')!r} model; only Mask2Former can be trained")
        return Mask2FormerForUniversalSegmentation.from_pretrained(
            name, id2label=names, label2id={label: index for index, label in names.items()},
            ignore_mismatched_sizes=True, use_safetensors=True,
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{name}: no weights to start from here or on the hub ({reason})") from error


class _FrozenNorm(nn.BatchNorm2d):
    """Batch normalisation that stays in evaluation mode, whatever mode the network around it is in."""

    def train(self, mode: bool = True) -> "_FrozenNorm":
        """Has no effect; ``mode`` is ignored."""
        del mode
        return super().train(False)


def _freeze_norms(backbone: nn.Module) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = _FrozenNorm  # same parameters and names, another mode
            module.requires_grad_(False).eval()
