"""Training the transformer on labelled videos of seen classes: a query and supports of its class (Section 5)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from fewmask.datasets.ytvis_types import YtvisAnnotation, YtvisDataset, YtvisVideo
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.frame_source import RgbImage
from fewmask.media.frames import open_frames
from fewmask.selfshot.backbone import Backbone, Maps
from fewmask.selfshot.evaluate import evaluate, oracle_episodes
from fewmask.selfshot.frozen_maps import FrozenMaps
from fewmask.selfshot.pretrained import save_transformer, start_backbone
from fewmask.selfshot.set_losses import LossWeights, clip_losses
from fewmask.selfshot.supports import resized
from fewmask.selfshot.tracks import ClipTargets
from fewmask.selfshot.transformer import CommonInstanceTransformer, TransformerConfig
from fewmask.training.settings import TrainSettings


class TransformerRecipe(BaseModel):
    """One trained transformer. Stored as TOML under recipes/selfshot/."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: TransformerConfig = Field(default_factory=TransformerConfig)
    shots: int = Field(5, ge=1, description="support clips per query")
    strays: float = Field(
        0.0, ge=0, lt=1, description="chance of each support but one to be any video, as retrieved ones may be"
    )
    backbone_rate: float = Field(
        0.1, ge=0, description="learning rate of the backbone relative to the rest; 0 = frozen, its maps computed once"
    )
    losses: LossWeights = Field(default_factory=LossWeights)
    train: TrainSettings


@dataclass(frozen=True)
class _Clip:
    video: int
    places: tuple[int, ...]
    mirrored: bool
    pictures: Tensor | None  # uint8 [T, H, W, 3]; None where the maps of a frozen backbone serve


@dataclass(frozen=True)
class _Sample:
    query: _Clip
    targets: ClipTargets
    supports: list[_Clip]


class TransformerTask:
    """The `TrainTask` of the transformer on a YouTube-VIS format dataset.

    Args:
        recipe: what to train.
        dataset: videos with masks; every class in it is a seen class.
        root: folder of the frame files.
        initial: checkpoint for the backbone, see ``start_backbone``.
        held_out: videos to validate on, and the folder of their frame files.

    Raises:
        DatasetError: no class is shown by two videos with frame files.
    """

    network: nn.Module

    def __init__(
        self,
        recipe: TransformerRecipe,
        dataset: YtvisDataset,
        root: Path,
        initial: Path | None = None,
        held_out: tuple[YtvisDataset, Path] | None = None,
    ) -> None:
        self.recipe, self._root, self._held_out = recipe, root, held_out
        self._videos = {video.id: video for video in dataset.videos if video.file_names}
        self._objects: dict[tuple[int, int], list[YtvisAnnotation]] = defaultdict(list)
        self._shown_by: dict[int, set[int]] = defaultdict(set)
        for annotation in dataset.annotations:
            if annotation.video_id in self._videos and not annotation.iscrowd:
                self._objects[annotation.video_id, annotation.category_id].append(annotation)
                self._shown_by[annotation.category_id].add(annotation.video_id)
        self._episodes = sorted(pair for pair in self._objects if len(self._shown_by[pair[1]]) > 1)
        if not self._episodes:
            raise DatasetError(
                f"{dataset.path or root}: no class is shown by two videos, so nothing can support a query"
            )
        torch.manual_seed(recipe.train.seed)
        self._backbone = self._made()
        if initial is not None:
            start_backbone(self._backbone, initial)
        self._maps: FrozenMaps | None = None
        if recipe.backbone_rate == 0:
            self._backbone.requires_grad_(False)
            self._maps = FrozenMaps(self._backbone, lambda video, places: self._pictures(self._videos[video], places))

    def _made(self) -> Backbone:
        """Make the network that is trained; its backbone."""
        self.network = self._transformer = CommonInstanceTransformer(self.recipe.network)
        return self._transformer.backbone

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The backbone at a tenth of the rate, as in the paper."""
        of_backbone = [p for p in self._backbone.parameters() if p.requires_grad]
        known = {id(parameter) for parameter in of_backbone}
        rest = [p for p in self.network.parameters() if p.requires_grad and id(p) not in known]
        groups = [
            {"params": rest, "lr": learning_rate, "weight_decay": weight_decay},
            {"params": of_backbone, "lr": learning_rate * self.recipe.backbone_rate, "weight_decay": weight_decay},
        ]
        return [group for group in groups if group["params"]]

    def sample(self, number: int) -> _Sample:
        """One episode: a query video, one of its classes, and random other videos of that class."""
        recipe = self.recipe
        epoch, place = divmod(number, len(self._episodes))
        order = np.random.default_rng((recipe.train.seed, 1, epoch)).permutation(len(self._episodes))
        video, category = self._episodes[int(order[place])]
        chance = np.random.default_rng((recipe.train.seed, 2, number))
        others = sorted(self._shown_by[category] - {video})
        chosen = chance.choice(others, recipe.shots, replace=len(others) < recipe.shots)
        supports = [self._support(int(other), category, chance) for other in chosen]
        if recipe.strays:
            astray = chance.random(recipe.shots) < recipe.strays
            astray[int(chance.integers(recipe.shots))] = False
            for place in np.flatnonzero(astray).tolist():
                other, shown = self._episodes[int(chance.integers(len(self._episodes)))]
                if other != video:
                    supports[place] = self._support(other, shown, chance)
        query, masks = self._query(self._videos[video], self._objects[video, category], chance)
        return _Sample(query, ClipTargets.from_masks(masks), supports)

    def collate(self, samples: Sequence[_Sample]) -> list[_Sample]:
        """Episodes differ in objects and support lengths: a plain list."""
        return list(samples)

    def loss(self, batch: list[_Sample], device: torch.device) -> dict[str, Tensor]:
        """Mean over the batch's episodes, one forward pass each."""
        sums: dict[str, Tensor] = {}
        for sample in batch:
            targets = ClipTargets(
                *(part.to(device) for part in (sample.targets.boxes, sample.targets.present, sample.targets.masks))
            )
            query = self._input(sample.query, device)
            losses = self._losses(query, [self._input(clip, device) for clip in sample.supports], targets)
            losses["total"] = torch.stack(list(losses.values())).sum()
            for name, value in losses.items():
                if not name.startswith("auxiliary"):
                    sums[name] = sums.get(name, torch.zeros((), device=device)) + value / len(batch)
        return sums

    def _losses(
        self, query: Tensor | Maps, supports: Sequence[Tensor | Maps], targets: ClipTargets
    ) -> dict[str, Tensor]:
        """Of one episode; their sum is what is minimised."""
        prediction = self._transformer(query, self._transformer.encode_supports(supports))
        return clip_losses(prediction, targets, self.recipe.losses)

    def validate(self) -> dict[str, float]:
        """Video AP50 of the held-out videos with oracle supports, per class and pooled."""
        if self._held_out is None:
            return {}
        dataset, root = self._held_out
        found = evaluate(self._transformer, dataset, root, oracle_episodes(dataset, root, shots=self.recipe.shots))
        return {
            name: value
            for name, value in {"AP50": found.mean, "AP50_pooled": found.pooled}.items()
            if value is not None
        }

    def save(self, folder: Path) -> None:
        """Write the network as ``load_transformer`` reads it."""
        save_transformer(self._transformer, folder)

    def _query(
        self, video: YtvisVideo, objects: Sequence[YtvisAnnotation], chance: np.random.Generator
    ) -> tuple[_Clip, Tensor]:
        """T frames from a random position, and their masks bool [G, T, H, W]; a short video repeats its last frame."""
        length, size = self.recipe.network.frames, self.recipe.network.size
        start = int(chance.integers(max(1, video.length - length + 1)))
        places = tuple(min(start + step, video.length - 1) for step in range(length))
        mirrored = bool(chance.random() < 0.5)
        masks = torch.stack([torch.stack([_small(o.segmentations[place], size) for place in places]) for o in objects])
        return self._clip(video, places, mirrored), masks.flip(3) if mirrored else masks

    def _support(self, video_id: int, category: int, chance: np.random.Generator) -> _Clip:
        """Consecutive frames of a video of the class, around one in which the class is visible."""
        video, length = self._videos[video_id], self.recipe.network.support_frames
        visible = np.flatnonzero(np.any([o.mask_areas > 0 for o in self._objects[video_id, category]], axis=0))
        centre = int(chance.choice(visible)) if len(visible) else 0
        start = int(np.clip(centre - chance.integers(length), 0, max(0, video.length - length)))
        return self._clip(video, tuple(range(start, min(start + length, video.length))), bool(chance.random() < 0.5))

    def _clip(self, video: YtvisVideo, places: tuple[int, ...], mirrored: bool) -> _Clip:
        if self._maps is not None:
            return _Clip(video.id, places, mirrored, None)
        pictures = self._pictures(video, places)
        return _Clip(video.id, places, mirrored, pictures.flip(2) if mirrored else pictures)

    def _input(self, clip: _Clip, device: torch.device) -> Tensor | Maps:
        if clip.pictures is not None:
            return clip.pictures.to(device)
        assert self._maps is not None
        return self._maps.clip(clip.video, clip.places, mirrored=clip.mirrored, device=device)

    def _pictures(self, video: YtvisVideo, places: Sequence[int]) -> Tensor:
        """uint8 [T, H, W, 3] of the network's size."""
        pictures: dict[int, RgbImage] = {}
        for place in sorted(set(places)):
            with open_frames([self._root / video.file_names[place]]) as frames:
                pictures[place] = next(iter(frames)).rgb
        return resized([pictures[place] for place in places], self.recipe.network.size)


def _small(mask: rle.Rle | None, size: tuple[int, int]) -> Tensor:
    if mask is None:
        return torch.zeros(size, dtype=torch.bool)
    bitmap = rle.decode(mask).astype(np.float32)
    return torch.from_numpy(cv2.resize(bitmap, (size[1], size[0]), interpolation=cv2.INTER_AREA) >= 0.5)
