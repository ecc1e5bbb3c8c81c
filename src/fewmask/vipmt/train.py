"""What the training loop needs to know of VIPMT (sections 4.4 and 5.1)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fewmask.datasets.draws import draw_weighted, seed_of
from fewmask.errors import ConfigError
from fewmask.vipmt.collapse import differing_share
from fewmask.vipmt.convert import save_network
from fewmask.vipmt.episodes import (
    EpisodeSampler,
    LabelledVideo,
    Shot,
    TrainingEpisode,
    split_categories,
)
from fewmask.vipmt.exemplars import Exemplars
from fewmask.vipmt.feature_cache import FeatureCache
from fewmask.vipmt.losses import SegmentedClip, clip_losses, iou_labels
from fewmask.vipmt.mask_noise import noisy_masks
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.recipe import VIPMTRecipe
from fewmask.vipmt.similarity import compared_features, structural_similarity_maps
from fewmask.vipmt.start import load_backbone, load_start
from fewmask.vipmt.token_masks import to_tokens
from fewmask.vipmt.training_videos import merged_videos, read_videos
from fewmask.vipmt.views import shot_mask


@dataclass(frozen=True)
class _Numbered:
    number: int
    episode: TrainingEpisode
    judged: TrainingEpisode
    """Where IoUNet sees noisy true masks: the episode itself, unless it has data of its own."""


class VIPMTTask:
    """The `TrainTask` of a VIPMT network.

    Every batch holds clips of different classes, as CCDS needs. Deviation: the loop's AdamW in place of Adam.

    Args:
        recipe: what to train.
        network: to be trained; its backbone must hold its pretrained weights.
        sampler: episodes of the training classes.
        validation: episodes of held-out base classes, or None.
        judged: episodes whose noisy true masks IoUNet learns from, for instance of pictures beside training on videos;
            None takes those of the training.

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
        judged: EpisodeSampler | None = None,
    ) -> None:
        if len(sampler.categories) < recipe.train.batch_size:
            raise ConfigError(
                f"batch_size {recipe.train.batch_size} needs as many classes, the data has {len(sampler.categories)}"
            )
        self.recipe, self.sampler, self.validation, self.judged = recipe, sampler, validation, judged
        self.network = self._vipmt = network
        self.features = FeatureCache(network, recipe.cache_bytes if recipe.views else 0)
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
        episode = self.sampler.draw(category, number)
        if self.judged is None:
            return _Numbered(number, episode, episode)
        classes = self.judged.categories
        place = seed_of("vipmt judged", self.judged.seed, number) % len(classes)
        return _Numbered(number, episode, self.judged.draw(classes[place], number))

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
                blind = seed_of("vipmt blind", item.number, index) % 1000 < 1000 * self.recipe.blind
                size = self._vipmt.config.input_size
                result = self._vipmt.segment(features, size, support, memory, blind=blind)
                clips.append(SegmentedClip(result, masks, torch.cat((support_masks, memory_masks))))
            losses = clip_losses(
                clips,
                ccds=self.recipe.ccds,
                ccds_on=self.recipe.ccds_on,
                score=self.recipe.iou_training != "noisy",
            )
            parts = {"main": losses.main, "auxiliary": losses.auxiliary, "ccds": losses.ccds, "score": losses.score}
            for name, value in parts.items():
                sums[name] = sums.get(name, value.new_zeros(())) + value
        if self.recipe.iou_training != "real":
            truths = [to_tokens(self.masks(item.judged, item.judged.clips[0])) for item in batch]
            made_up = torch.stack(
                [
                    self._made_up_score(item, support, truths[place], truths[place - 1])
                    for place, (item, (support, _)) in enumerate(zip(batch, supports, strict=True))
                ]
            ).mean()
            sums["score"] = made_up + (sums["score"] if self.recipe.iou_training == "mixed" else 0)
        return {"total": torch.stack(list(sums.values())).sum(), **sums}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Figures on two clips of held-out base classes, the second with the true masks of the first as memory.

        ``j``, ``j_memory``: mean J of the first and of the second clips. ``j_prior``: of the thresholded prior, the
        untrained guess on the same features. ``j_other``: of the first, where the iterations are shown the supports of
        the episode before, which is of another class: as high as ``j`` means that they do not look. ``differing``: the
        share of the last clip prototype that differs between episodes; 0 = a constant (collapse.py). ``score_error``:
        IoUNet's mean absolute error.
        """
        if self.validation is None:
            return {}
        scores: dict[str, list[float]] = {}
        prototypes, before, size = [], None, self._vipmt.config.input_size
        categories = self.validation.categories
        for number in range(self.recipe.validation_episodes):
            episode = self.validation.draw(categories[number % len(categories)], number)
            support, _ = self.encode(episode, episode.supports)
            for index, name in ((0, "j"), (1, "j_memory"))[: len(episode.clips)]:
                memory = self.encode(episode, episode.memories[index])[0] if episode.memories[index] else None
                masks = self.masks(episode, episode.clips[index])
                features = self.features.get(episode.clips[index])
                result = self._vipmt.segment(features, size, support, memory)
                found = iou_labels(result.masks, masks)
                scores.setdefault(name, []).extend(found.tolist())
                if index == 0:
                    prototypes.append(result.iterations[-1].clip_prototype)
                    scores.setdefault("j_prior", []).extend(iou_labels(result.prior > 0.5, to_tokens(masks)).tolist())
                    scores.setdefault("score_error", []).extend((result.iou_scores - found).abs().tolist())
                    if before is not None and len(categories) > 1:
                        other = self._vipmt.segment(features, size, support, iterated=before)
                        scores.setdefault("j_other", []).extend(iou_labels(other.masks, masks).tolist())
            before = support
        figures = {name: float(np.mean(values)) for name, values in scores.items()}
        return figures | ({"differing": differing_share(torch.stack(prototypes))} if prototypes else {})

    def save(self, folder: Path) -> None:
        """Write weights as `VIPMT.from_pretrained` reads them."""
        save_network(self.network.state_dict(), self._vipmt.config, folder)

    def encode(self, episode: TrainingEpisode, shots: Sequence[Shot]) -> tuple[Exemplars, Tensor]:
        """Shots of an episode as exemplars, and their masks."""
        masks = self.masks(episode, shots)
        return self._vipmt.exemplars(self.features.get(shots), masks), masks

    def masks(self, episode: TrainingEpisode, shots: Sequence[Shot]) -> Tensor:
        """True masks of the episode's class in N shots, bool [N, H, W]."""
        size = self._vipmt.config.input_size
        masks = np.stack([shot_mask(shot, episode.category, size) for shot in shots])
        return torch.from_numpy(masks).to(self._vipmt.device)

    def _made_up_score(self, item: _Numbered, support: Exemplars, truth: Tensor, elsewhere: Tensor) -> Tensor:
        """IoUNet's loss on masks that no network predicted, summed over a clip's frames.

        Noisy true masks are its "video" and "image" modes. In "mixed" training every other frame gets one that noise
        does not make: none at all, or ``elsewhere``, the outline of another episode's object. Bool [T, h, w] both.
        """
        generator = torch.Generator().manual_seed(seed_of("vipmt noise", item.number))
        masks = noisy_masks(truth.cpu(), generator).to(truth.device)
        if self.recipe.iou_training == "mixed":
            for t in range(len(masks)):
                chance = float(torch.rand((), generator=generator))
                if chance < 0.15:
                    masks[t] = False
                elif chance < 0.5:
                    masks[t] = elsewhere[t % len(elsewhere)]
        if item.judged is not item.episode:
            support, _ = self.encode(item.judged, item.judged.supports)
        features = self.features.get(item.judged.clips[0])
        config = self._vipmt.config
        if config.structural_maps:
            maps = structural_similarity_maps(compared_features(features, config), masks, support.regions)
        else:
            maps = torch.zeros(len(masks), 4, *masks.shape[-2:], device=masks.device)
        scores = self._vipmt.iou_net(features, torch.cat((masks[:, None].to(maps.dtype), maps), dim=1))
        loss: Tensor = (scores - iou_labels(masks, truth).to(scores.dtype)).abs().sum()
        return loss


def make_task(
    recipe: VIPMTRecipe,
    data: Path,
    backbone: Path,
    *,
    root: Path | None = None,
    novel: Collection[str] = (),
    also: Sequence[Path] = (),
    start_from: str | Path | None = None,
    iou_data: Path | None = None,
) -> VIPMTTask:
    """The task that `fewmask train vipmt` runs.

    Args:
        recipe: what to train.
        data: COCO or YouTube-VIS format file with masks.
        backbone: checkpoint of the frozen backbone.
        root: folder of the pictures.
        novel: names of classes that training must not see.
        also: further files, of classes with the same names or others; their pictures lie where their format has them.
        start_from: ``small`` (the bundled weights) or a folder of weights to go on from, their backbone included;
            the recipe's ``anew`` says what is left out of them.
        iou_data: file whose noisy true masks IoUNet learns from in place of those of ``data`` (Section 4.3's images);
            its classes are matched by name, and neither novel nor held-out ones are drawn from it.

    Raises:
        DatasetError, CheckpointError, ConfigError: see the parts; ``novel`` names a class that the data lacks; or
            ``iou_data`` with a recipe whose IoUNet learns from predictions alone, or without a class to learn from.
    """
    if iou_data is not None and recipe.iou_training == "real":
        raise ConfigError("--iou-data is for a recipe with iou_training = 'noisy' or 'mixed'; this one says 'real'")
    sources = [read_videos(data, root), *map(read_videos, also)]
    apart = [] if iou_data is None else [read_videos(iou_data)]
    videos, names = merged_videos(sources + apart)
    count = sum(len(found) for found, _ in sources)
    videos, pictures = videos[:count], videos[count:]
    unknown = sorted(set(novel) - set(names.values()))
    if unknown:
        raise ConfigError(f"novel class {unknown[0]!r} is not a class of {data}")
    base = [key for key, name in names.items() if name not in novel]
    train, held = split_categories(videos, base, least=recipe.least_videos, held_out=recipe.held_out)
    torch.manual_seed(recipe.train.seed)
    network = VIPMTNetwork(recipe.network)
    if start_from is None:
        load_backbone(network, backbone)
    else:
        load_start(network, start_from, recipe.anew)

    def sampler(categories: Sequence[int], shown: Sequence[LabelledVideo] = videos) -> EpisodeSampler:
        return EpisodeSampler(
            shown,
            categories,
            shots=recipe.shots,
            clip_length=recipe.clip_length or recipe.network.clip_length,
            clips=recipe.clips,
            memory_length=recipe.network.memory_length,
            views=recipe.views,
            seed=recipe.train.seed,
            clip_stride=recipe.clip_stride,
            crowded=recipe.crowded,
            absent=recipe.absent if categories is train else 0.0,
        )

    judged = None
    if iou_data is not None:
        left = [key for key in base if key not in held]
        learnt, _ = split_categories(pictures, left, least=recipe.least_videos, held_out=0)
        if not learnt:
            raise ConfigError(f"{iou_data}: no class for IoUNet to learn from; {recipe.least_videos} pictures of one")
        judged = sampler(learnt, pictures)
    return VIPMTTask(recipe, network, sampler(train), sampler(held) if held else None, judged)
