"""Training the one-stage segmenter on labelled frames; every few samples is a pair that shares its objects."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fewmask.errors import ConfigError
from fewmask.minvis.augment import Augmentation, LabelledFrame, drop_small, paste, recolour, view
from fewmask.minvis.dense.losses import DenseTargets, dense_loss
from fewmask.minvis.dense.network import DenseNetwork
from fewmask.minvis.dense.recipe import DenseRecipe
from fewmask.minvis.dense.segmenter import DenseSegmenter
from fewmask.minvis.dense.weights import fill, load_dense_network, names_of, save_dense
from fewmask.minvis.pixels import PixelNormalisation
from fewmask.minvis.pretrained import folder_of
from fewmask.minvis.training_data import FrameLabels, TrainingData
from fewmask.models.weights_file import WEIGHTS


@dataclass(frozen=True)
class _View:
    rgb: np.ndarray[Any, np.dtype[np.uint8]]
    masks: np.ndarray[Any, np.dtype[np.bool_]]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    identities: np.ndarray[Any, np.dtype[np.int64]]  # of the sample
    unknown: np.ndarray[Any, np.dtype[np.bool_]] | None


@dataclass(frozen=True)
class _Batch:
    pixels: Tensor  # uint8 [B, 3, H, W]
    targets: list[DenseTargets]


class DenseTask:
    """The `TrainTask` of a one-stage segmenter.

    Args:
        recipe: what to train; the number of classes is taken from the data.
        data: labelled frames.
        initial: MobileSAM state dict (original key names) for the backbone, or None.
        start_from: a folder that `DenseSegmenter.save` wrote, to go on from; classes keep what was learned of their
            names.

    Raises:
        ConfigError: both ``initial`` and ``start_from``.
        CheckpointError: one of them does not fit.
    """

    network: nn.Module

    def __init__(
        self,
        recipe: DenseRecipe,
        data: TrainingData,
        initial: dict[str, Tensor] | None = None,
        *,
        start_from: str | Path | None = None,
    ) -> None:
        if initial is not None and start_from is not None:
            raise ConfigError("initial weights and weights to start from exclude one another; give one")
        self.recipe, self._data = recipe, data
        torch.manual_seed(recipe.train.seed)
        self._names = data.categories
        if recipe.keep_names:
            if start_from is None:
                raise ConfigError("keep_names needs weights that have names; use --start-from")
            network, self._names, _ = load_dense_network(folder_of(start_from))
        else:
            network = DenseNetwork(recipe.shape(len(data.categories)))
            if initial is not None:
                network.backbone.load_mobile_sam(initial)
            if start_from is not None:
                folder = folder_of(start_from)
                known = names_of(folder)
                rows = [known.index(name) if name in known else None for name in data.categories]
                fill(network, folder / WEIGHTS, rows=rows)
        body = network.backbone.body
        frozen = [body.patch_embed, *(getattr(body, f"stages_{i}") for i in range(recipe.frozen_stages))]
        for module in frozen if recipe.frozen_stages else []:
            module.requires_grad_(False)
        self.network = network.to(memory_format=torch.channels_last)
        self._normalisation = PixelNormalisation()

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Backbone apart; no decay for what has one dimension; frozen parameters left out."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                free = parameter.ndim < 2 or "attention_biases" in name
                groups.setdefault((name.startswith("backbone."), free), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": learning_rate * (self.recipe.backbone_rate if backbone else 1.0),
                "weight_decay": 0.0 if free else weight_decay,
            }
            for (backbone, free), parameters in sorted(groups.items(), key=lambda item: item[0])
        ]

    def sample(self, number: int) -> list[_View]:
        """A view of a frame with pasted objects of another, or a pair of such views that share their objects."""
        recipe, videos = self.recipe, self._data.videos
        epoch, place = divmod(number, len(videos))
        order = np.random.default_rng((recipe.train.seed, epoch)).permutation(len(videos))
        random = np.random.default_rng((recipe.train.seed, 1, number))
        step = number // recipe.train.batch_size
        video = videos[order[place]]
        first = video[int(random.integers(len(video)))]
        calm = recipe.calm_after is not None and step >= recipe.calm_after
        strength = recipe.calm_augmentation if calm else recipe.augmentation
        donor = videos[int(random.integers(len(videos)))]
        other = donor[int(random.integers(len(donor)))] if random.random() < strength.paste else None
        frames = [first]
        if recipe.pair_every and number % recipe.pair_every == 0:
            near = [frame for frame in video if 0 < abs(frame.time - first.time) <= recipe.pair_reach]
            frames.append(near[int(random.integers(len(near)))] if near else first)
        return [self._view(frame, other, step, strength, random) for frame in frames]

    def _view(
        self, labels: FrameLabels, other: FrameLabels | None, step: int, strength: Augmentation,
        random: np.random.Generator,
    ) -> _View:  # fmt: skip
        size = self.recipe.sizes[step % len(self.recipe.sizes)]
        own = len(labels.masks)
        # Views drop instances; their places in the list stand in for labels, to know identities by.
        frame = view(_numbered(labels.load(), 0), size, strength, random)
        names = list(labels.labels)
        # Objects of a still picture are the same in both views of a pair; those of a video have numbers of their own.
        numbers = list(labels.identities or range(own))
        if other is not None:
            frame = paste(frame, view(_numbered(other.load(), own), size, strength, random), strength, random)
            names += other.labels
            numbers += [-1 - index for index in range(len(other.masks))]
        frame = drop_small(frame, strength.least_area)
        rgb = recolour(frame.rgb, strength.colour, random) if strength.colour else frame.rgb
        return _View(
            rgb,
            frame.masks,
            np.array([-1 if self.recipe.keep_names else names[place] for place in frame.labels], dtype=np.int64),
            np.array([numbers[place] for place in frame.labels], dtype=np.int64),
            frame.unknown,
        )

    def collate(self, samples: Sequence[list[_View]]) -> _Batch:
        """Samples as a batch; objects of different samples are different ones."""
        pixels, targets = [], []
        known: dict[tuple[int, int], int] = {}
        for sample, views in enumerate(samples):
            for seen in views:
                pixels.append(torch.from_numpy(seen.rgb).permute(2, 0, 1))
                numbers = [known.setdefault((sample, int(identity)), len(known)) for identity in seen.identities]
                unknown = np.zeros(seen.rgb.shape[:2], bool) if seen.unknown is None else seen.unknown
                targets.append(
                    DenseTargets(
                        torch.from_numpy(seen.masks),
                        torch.from_numpy(seen.labels),
                        torch.tensor(numbers, dtype=torch.long),
                        torch.from_numpy(unknown),
                    )
                )
        return _Batch(torch.stack(pixels), targets)

    def loss(self, batch: _Batch, device: torch.device) -> dict[str, Tensor]:
        """See `fewmask.minvis.dense.losses.dense_loss`."""
        mean = torch.tensor(self._normalisation.mean, device=device).view(3, 1, 1)
        std = torch.tensor(self._normalisation.std, device=device).view(3, 1, 1)
        pixels = ((batch.pixels.to(device).float() - mean) / std).contiguous(memory_format=torch.channels_last)
        for module in self.network.get_submodule("backbone").modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()  # its statistics come from far larger batches
        found = self.network(pixels)
        targets = [
            DenseTargets(t.masks.to(device), t.labels.to(device), t.identities.to(device), t.unknown.to(device))
            for t in batch.targets
        ]
        with torch.autocast(device.type, enabled=False):
            return dense_loss(found, targets, self.recipe.weights)

    def validate(self) -> dict[str, float]:
        """Figures of the present weights on the held-out data."""
        if self._data.validate is None:
            return {}
        network: Any = copy.deepcopy(self.network)
        segmenter = DenseSegmenter(
            network, self._names, short_side=self.recipe.validation_short_side,
            autocast_dtype=torch.bfloat16 if self.recipe.train.precision == "bf16" else None,
        )  # fmt: skip
        return self._data.validate(segmenter)

    def save(self, folder: Path) -> None:
        """Write the network for `MinVIS.from_pretrained`."""
        network: Any = self.network
        save_dense(network, folder, names=self._names, short_side=self.recipe.validation_short_side)


def _numbered(frame: LabelledFrame, offset: int) -> LabelledFrame:
    return replace(frame, labels=np.arange(len(frame.labels)) + offset)
