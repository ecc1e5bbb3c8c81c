"""What the training loop needs to know of VIPMT (sections 4.4 and 5.1)."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor, nn

from fewmask.datasets.coco import read_coco
from fewmask.datasets.draws import draw_weighted, seed_of
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import CheckpointError, ConfigError, DatasetError
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.training.settings import TrainSettings
from fewmask.vipmt.config import VIPMTConfig
from fewmask.vipmt.convert import save_weights
from fewmask.vipmt.episodes import (
    EpisodeSampler,
    LabelledVideo,
    Shot,
    TrainingEpisode,
    split_categories,
    videos_of_coco,
    videos_of_ytvis,
)
from fewmask.vipmt.exemplars import Exemplars
from fewmask.vipmt.feature_cache import FeatureCache
from fewmask.vipmt.losses import SegmentedClip, clip_losses, iou_labels
from fewmask.vipmt.mask_noise import noisy_masks
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.similarity import compared_features, structural_similarity_maps
from fewmask.vipmt.token_masks import to_tokens
from fewmask.vipmt.views import shot_mask


def _read_config(values: Any) -> Any:
    return VIPMTConfig.from_dict(values) if isinstance(values, dict) else values


class VIPMTRecipe(BaseModel):
    """One trained network. Stored as TOML under recipes/vipmt/."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Annotated[VIPMTConfig, BeforeValidator(_read_config)] = Field(default_factory=VIPMTConfig)
    shots: int = Field(5, ge=1, description="supports per episode")
    clips: int = Field(3, ge=1, description="clips per episode; from the second on they have memory")
    clip_length: int | None = Field(
        None, ge=1, description="frames of a training clip; null = the network's. Of stills two say as much as five"
    )
    views: int = Field(4, ge=1, description="augmentations per picture")
    ccds: Literal["code", "paper", "off"] = "code"
    memory_after: int = Field(0, ge=0, description="steps before memory is used; the released code waits half a run")
    clips_before_memory: int | None = Field(
        None, ge=1, description="clips per episode until then; null = all. Fewer leave time for more episodes"
    )
    iou_training: Literal["real", "noisy"] = Field(
        "real", description="IoUNet learns from predictions, or from noisy true masks (on videos or on images)"
    )
    iou_rate: float = Field(
        1.0, gt=0, description="learning rate of IoUNet relative to the rest; its sigmoid dies where steps are large"
    )
    least_videos: int = Field(4, ge=2, description="videos that must show a class for it to be used")
    held_out: int = Field(4, ge=0, description="base classes kept for validation")
    validation_episodes: int = Field(40, ge=0)
    class_balance: float = Field(
        0.0, ge=0, le=1, description="a class is drawn in proportion to this power of the number of videos with it. "
        "With 0, all alike, things that stand in most pictures, such as persons, are mostly seen as background"
    )  # fmt: skip
    cache_bytes: int = Field(2 << 30, ge=0, description="backbone features kept in memory; 0 = none")
    train: TrainSettings


@dataclass(frozen=True)
class _Numbered:
    number: int
    episode: TrainingEpisode


class VIPMTTask:
    """The `TrainTask` of a VIPMT network.

    Every batch holds clips of different classes, as CCDS needs. Deviation: the loop's AdamW in place of Adam.

    Args:
        recipe: what to train.
        network: to be trained; its backbone must hold its pretrained weights.
        sampler: episodes of the training classes.
        validation: episodes of held-out base classes, or None.

    Raises:
        ConfigError: fewer classes than a batch has items.
    """

    network: nn.Module

    def __init__(
        self,
        recipe: VIPMTRecipe,
        network: VIPMTNetwork,
        sampler: EpisodeSampler,
        validation: EpisodeSampler | None = None,
    ) -> None:
        if len(sampler.categories) < recipe.train.batch_size:
            raise ConfigError(
                f"batch_size {recipe.train.batch_size} needs as many classes, the data has {len(sampler.categories)}"
            )
        self.recipe, self.sampler, self.validation = recipe, sampler, validation
        self.network = self._vipmt = network
        self.features = FeatureCache(network, recipe.cache_bytes)
        self._weights = {c: len(sampler.showing(c)) ** recipe.class_balance for c in sampler.categories}

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """IoUNet, and everything else but the backbone."""
        judge = list(self._vipmt.iou_net.parameters())
        judging = {id(parameter) for parameter in judge}
        rest = [p for p in self.network.parameters() if p.requires_grad and id(p) not in judging]
        return [
            {"params": rest, "lr": learning_rate, "weight_decay": weight_decay},
            {"params": judge, "lr": learning_rate * self.recipe.iou_rate, "weight_decay": weight_decay},
        ]

    def sample(self, number: int) -> _Numbered:
        """Episode ``number``; the classes of one batch are all different."""
        batch = self.recipe.train.batch_size
        step, place = divmod(number, batch)
        category = draw_weighted(self._weights, batch, "vipmt batch", self.sampler.seed, step)[place]
        return _Numbered(number, self.sampler.draw(category, number))

    def collate(self, samples: Sequence[_Numbered]) -> list[_Numbered]:
        """A batch is the list of its episodes."""
        return list(samples)

    def loss(self, batch: Sequence[_Numbered], device: torch.device) -> dict[str, Tensor]:
        """Plain sum over the clips of an episode (section 5.1)."""
        del device  # features and masks are made where the network is
        sums: dict[str, Tensor] = {}
        step = batch[0].number // self.recipe.train.batch_size
        supports = [self.encode(item.episode, item.episode.supports) for item in batch]
        remembering = step >= self.recipe.memory_after
        few = self.recipe.clips if remembering else self.recipe.clips_before_memory or self.recipe.clips
        for index in range(min(few, self.recipe.clips)):
            clips = []
            for item, (support, support_masks) in zip(batch, supports, strict=True):
                shots = item.episode.memories[index] if remembering else ()
                memory, memory_masks = self.encode(item.episode, shots) if shots else (None, support_masks[:0])
                masks = self.masks(item.episode, item.episode.clips[index])
                features = self.features.get(item.episode.clips[index])
                result = self._vipmt.segment(features, self._vipmt.config.input_size, support, memory)
                clips.append(SegmentedClip(result, masks, torch.cat((support_masks, memory_masks))))
            losses = clip_losses(clips, ccds=self.recipe.ccds, score=self.recipe.iou_training == "real")
            parts = {"main": losses.main, "auxiliary": losses.auxiliary, "ccds": losses.ccds, "score": losses.score}
            for name, value in parts.items():
                sums[name] = sums.get(name, value.new_zeros(())) + value
        if self.recipe.iou_training == "noisy":
            sums["score"] = torch.stack(
                [self._noisy_score(item, support) for item, (support, _) in zip(batch, supports, strict=True)]
            ).mean()
        return {"total": torch.stack(list(sums.values())).sum(), **sums}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean J of two clips of held-out base classes, the second with the true masks of the first as memory.

        Beside it the J of the thresholded prior, the untrained guess on the same features.
        """
        if self.validation is None:
            return {}
        scores: dict[str, list[float]] = {"j": [], "j_memory": [], "j_prior": []}
        categories = self.validation.categories
        for number in range(self.recipe.validation_episodes):
            episode = self.validation.draw(categories[number % len(categories)], number)
            support, _ = self.encode(episode, episode.supports)
            for index, name in ((0, "j"), (1, "j_memory"))[: len(episode.clips)]:
                memory = self.encode(episode, episode.memories[index])[0] if episode.memories[index] else None
                masks = self.masks(episode, episode.clips[index])
                features = self.features.get(episode.clips[index])
                result = self._vipmt.segment(features, self._vipmt.config.input_size, support, memory)
                scores[name] += iou_labels(result.masks, masks).tolist()
                if index == 0:
                    scores["j_prior"] += iou_labels(result.prior > 0.5, to_tokens(masks)).tolist()
        return {name: float(np.mean(values)) for name, values in scores.items() if values}

    def save(self, folder: Path) -> None:
        """Write weights as `VIPMT.from_pretrained` reads them."""
        save_weights(self.network.state_dict(), self._vipmt.config, folder)

    def encode(self, episode: TrainingEpisode, shots: Sequence[Shot]) -> tuple[Exemplars, Tensor]:
        """Shots of an episode as exemplars, and their masks."""
        masks = self.masks(episode, shots)
        return self._vipmt.exemplars(self.features.get(shots), masks), masks

    def masks(self, episode: TrainingEpisode, shots: Sequence[Shot]) -> Tensor:
        """True masks of the episode's class in N shots, bool [N, H, W]."""
        size = self._vipmt.config.input_size
        masks = np.stack([shot_mask(shot, episode.category, size) for shot in shots])
        return torch.from_numpy(masks).to(self._vipmt.device)

    def _noisy_score(self, item: _Numbered, support: Exemplars) -> Tensor:
        """IoUNet's loss on noisy true masks (its "video" and "image" modes), summed over a clip's frames."""
        generator = torch.Generator().manual_seed(seed_of("vipmt noise", item.number))
        shots = item.episode.clips[0]
        truth = to_tokens(self.masks(item.episode, shots))
        noisy = noisy_masks(truth.cpu(), generator).to(truth.device)
        features = self.features.get(shots)
        pooled = compared_features(features, self._vipmt.config)
        maps = structural_similarity_maps(pooled, noisy, support.regions)
        scores = self._vipmt.iou_net(features, torch.cat((noisy[:, None].to(maps.dtype), maps), dim=1))
        loss: Tensor = (scores - iou_labels(noisy, truth).to(scores.dtype)).abs().sum()
        return loss


def read_videos(data: Path, root: Path | None = None) -> tuple[list[LabelledVideo], Mapping[int, str]]:
    """The labelled videos of a COCO or YouTube-VIS format file, and its category names.

    Args:
        data: the JSON file.
        root: folder of the pictures; by default what the format's reader takes.

    Raises:
        DatasetError: malformed, or of neither format.
    """
    try:
        keys = set(json.loads(data.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{data}: cannot be read as JSON ({' '.join(str(error).split())})") from error
    if "videos" in keys:
        videos = read_ytvis(data)
        names = {category.id: category.name for category in videos.categories}
        return videos_of_ytvis(videos, root or data.parent / "JPEGImages", names), names
    if "images" in keys:
        images = read_coco(data, root)
        return videos_of_coco(images, images.categories), images.categories
    raise DatasetError(f"{data}: neither 'videos' nor 'images' in it; give a YouTube-VIS or COCO format file")


def load_backbone(network: VIPMTNetwork, path: Path) -> None:
    """Fill the frozen backbone from an ImageNet checkpoint; a classifier in it is left out.

    Raises:
        CheckpointError: the checkpoint lacks a tensor of the backbone.
    """
    found = read_checkpoint(path)
    expected = network.backbone.state_dict()
    filled = {key: value for key, value in found.items() if key in expected}
    missing = [key for key in expected if key not in filled and not key.endswith("num_batches_tracked")]
    if missing:
        raise CheckpointError(f"{path}: no tensor {missing[0]!r}; it is not a {network.config.backbone} checkpoint")
    network.backbone.load_state_dict(filled, strict=False)


def make_task(
    recipe: VIPMTRecipe, data: Path, backbone: Path, *, root: Path | None = None, novel: Collection[str] = ()
) -> VIPMTTask:
    """The task that `fewmask train vipmt` runs.

    Args:
        recipe: what to train.
        data: COCO or YouTube-VIS format file with masks.
        backbone: checkpoint of the frozen backbone.
        root: folder of the pictures.
        novel: names of classes that training must not see.

    Raises:
        DatasetError, CheckpointError, ConfigError: see the parts; or ``novel`` names a class that the data lacks.
    """
    videos, names = read_videos(data, root)
    unknown = sorted(set(novel) - set(names.values()))
    if unknown:
        raise ConfigError(f"novel class {unknown[0]!r} is not a class of {data}")
    base = [key for key, name in names.items() if name not in novel]
    train, held = split_categories(videos, base, least=recipe.least_videos, held_out=recipe.held_out)
    torch.manual_seed(recipe.train.seed)
    network = VIPMTNetwork(recipe.network)
    load_backbone(network, backbone)

    def sampler(categories: Sequence[int]) -> EpisodeSampler:
        return EpisodeSampler(
            videos,
            categories,
            shots=recipe.shots,
            clip_length=recipe.clip_length or recipe.network.clip_length,
            clips=recipe.clips,
            memory_length=recipe.network.memory_length,
            views=recipe.views,
            seed=recipe.train.seed,
        )

    return VIPMTTask(recipe, network, sampler(train), sampler(held) if held else None)
