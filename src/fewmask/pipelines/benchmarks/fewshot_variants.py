"""The networks of VIPMT's ablations, Tables 4 to 7: what each is trained with, and what it is tested with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fewmask.errors import ConfigError
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.recipe import VIPMTRecipe


@dataclass(frozen=True)
class Variant:
    """One row.

    Attributes:
        row: as the paper calls it.
        network: changes of the network's settings, for training and test.
        recipe: changes of the recipe.
        tested: changes of the network's settings after training.
        needs_training: nothing of it can be seen on weights that are given.
    """

    row: str = ""
    network: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    tested: Mapping[str, Any] = field(default_factory=dict)
    needs_training: bool = False

    @property
    def training(self) -> str:
        """Name of the training, which rows may share; empty for the recipe as it is."""
        changes = {**self.network, **self.recipe}
        return "_".join(f"{key}-{str(value).lower()}" for key, value in sorted(changes.items()))

    def changed(self, recipe: VIPMTRecipe) -> VIPMTRecipe:
        """The recipe of this row; whatever the clips' length, a step sees as many query frames."""
        network = replace(recipe.network, **self.network)
        trained = recipe.clip_length or recipe.network.clip_length
        length = min(trained, network.clip_length)
        changes: dict[str, Any] = {"network": network, **self.recipe}
        if length != trained:
            changes |= {"clip_length": length, "clips": recipe.clips * trained // length}
        return recipe.model_copy(update=changes)

    def tested_network(self, trained: VIPMTNetwork) -> VIPMTNetwork:
        """The trained network with the parts of this row switched on or off.

        Raises:
            ConfigError: a part that is to be on was never trained.
        """
        config = replace(trained.config, **self.network, **self.tested)
        if config == trained.config:
            return trained
        network = VIPMTNetwork(config)
        loaded = network.load_state_dict(trained.state_dict(), strict=False)  # parts that are off have no weights
        if loaded.missing_keys:
            raise ConfigError(f"row {self.row}: the weights were trained without {loaded.missing_keys[0]}; train anew")
        return network.to(trained.device, trained.dtype).eval()


PLAIN = Variant()
_NO_MEMORY = {"memory_length": 0}
_NO_CCDS = {"ccds": "off"}
_NO_MAPS = {"structural_maps": False}
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
TABLES: Mapping[str, tuple[Variant, ...]] = {
    "components": (
        Variant("Baseline", {"clip_length": 1, "frame_prototypes": False, **_NO_MEMORY}, _NO_CCDS),
        Variant("+C", {"frame_prototypes": False, **_NO_MEMORY}, _NO_CCDS),
        Variant("+C+F", _NO_MEMORY, _NO_CCDS),
        Variant("+C+F+M", {}, _NO_CCDS),
        Variant("+C+F+M+CCDS", needs_training=True),
    ),
    "directions": (
        Variant("clip to frame", {"bidirectional": False, **_NO_MEMORY}, _NO_CCDS),
        Variant("bidirectional", _NO_MEMORY, _NO_CCDS),
    ),
    "iou-training": tuple(
        Variant(
            f"{mode}, {'with' if maps else 'without'} maps", {} if maps else _NO_MAPS,
            {**_NO_CCDS, "iou_training": training}, {"memory_threshold": 0.5}, needs_training=True,
        )
        for mode, training in (("real", "real"), ("noisy video masks", "noisy")) for maps in (False, True)
    ),
    "threshold": tuple(
        Variant(
            f"{threshold}, {'with' if maps else 'without'} maps", {} if maps else _NO_MAPS,
            _NO_CCDS, {"memory_threshold": threshold}, needs_training=not maps,
        )
        for threshold in THRESHOLDS for maps in (False, True)
    ),
}  # fmt: skip
"""Tables 4, 5, 6 and 7. The fourth row of Table 4 and the rows of Table 7 with maps are one training."""
