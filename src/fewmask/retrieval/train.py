"""Training the clip encoder on unlabelled videos: what the training loop needs to know of it (Section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from fewmask.errors import ConfigError, DatasetError
from fewmask.media.frame_source import RgbImage
from fewmask.retrieval.clips import square
from fewmask.retrieval.encoder import ClipNetwork, EncoderConfig, save_encoder
from fewmask.retrieval.frame_store import FrameStore, StoredVideo
from fewmask.retrieval.initial_weights import start_from
from fewmask.retrieval.losses import mil_nce_loss_of, printed_rank_loss_of, rank_loss_of
from fewmask.retrieval.momentum import MomentumPair, gathered
from fewmask.training.settings import TrainSettings


class ClipEncoderRecipe(BaseModel):
    """One trained clip encoder. Stored as TOML under recipes/selfshot/."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: EncoderConfig = Field(default_factory=EncoderConfig)
    objective: Literal["instance", "mil_nce", "rank", "printed_rank"] = Field(
        "rank",
        description="instance: two views of one frame; the others: clips of one video (eq. 1, eq. 2 set right, eq. 2 "
        "as printed)",
    )
    temperature: float = Field(0.05, gt=0, description="of the objective; the paper prints 2 for rank, which is flat")
    clips_per_video: int = Field(5, ge=2, description="temporal crops of one video in a batch")
    clip_pictures: int = Field(18, ge=1, description="stored pictures (six a second) that a crop spans")
    queue: int = Field(1280, ge=1, description="past keys that serve as negatives")
    momentum: float = Field(0.99, ge=0, lt=1, description="of the key encoder")
    backbone_rate: float = Field(
        1.0, ge=0, description="learning rate of the backbone relative to the rest; 0 = frozen"
    )
    views: int = Field(
        0, ge=0, description="views of each video, computed once; for frozen backbones. 0 = new ones in every step"
    )
    crop_scale: float = Field(0.5, gt=0, le=1, description="least share of the picture's square that a view shows")
    hold_out: int = Field(0, ge=0, description="every n-th video is for validation; 0 = none")
    train: TrainSettings

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.views and (self.backbone_rate or self.views < self.clips_per_video):
            raise ValueError("views need backbone_rate 0, and clips_per_video of them at least")
        return self


@dataclass(frozen=True)
class _Sample:
    video: int
    clips: npt.NDArray[Any]  # uint8 [C, T, S, S, 3], or of views the backbone's features, float32 [C, width]


@dataclass(frozen=True)
class _Batch:
    videos: Tensor  # int64 [V]
    clips: Tensor  # uint8 [V, C, T, S, S, 3] or float32 [V, C, width]


class ClipEncoderTask:
    """The `TrainTask` of a clip encoder.

    Args:
        recipe: what to train.
        videos: the unlabelled pool.
        frames: folder for compressed frames, filled at first use.
        initial: checkpoint for the backbone, see ``start_from``.

    Raises:
        DatasetError: fewer than two videos are left to train on.
        ConfigError: a vision transformer is frozen, and there is no more to it.
    """

    network: nn.Module

    def __init__(
        self, recipe: ClipEncoderRecipe, videos: Sequence[Path], frames: Path, initial: Path | None = None
    ) -> None:
        self.recipe = recipe
        self._store = FrameStore(frames)
        self._held_out = [
            video for place, video in enumerate(videos) if recipe.hold_out and place % recipe.hold_out == 0
        ]
        self._training = [video for video in videos if video not in set(self._held_out)]
        if len(self._training) < 2:
            raise DatasetError(f"{len(self._training)} videos are left to train on; give at least two")
        torch.manual_seed(recipe.train.seed)
        encoder = ClipNetwork(recipe.network)
        if initial is not None:
            start_from(encoder, initial)
        if recipe.backbone_rate == 0:
            if encoder.is_transformer:
                raise ConfigError(f"{recipe.network.backbone}: with backbone_rate 0 nothing is left to learn; raise it")
            encoder.backbone.requires_grad_(False)
        self.network = self._pair = MomentumPair(encoder, recipe.queue)
        self._views: dict[tuple[int, int], npt.NDArray[np.float32]] = {}

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Backbone apart; no decay for normalisations, biases and codes."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self._pair.query_encoder.named_parameters():
            if parameter.requires_grad:
                free = parameter.ndim < 2 or "pos_embed" in name or "token" in name or "code" in name
                groups.setdefault((name.startswith("backbone."), free), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": learning_rate * (self.recipe.backbone_rate if backbone else 1.0),
                "weight_decay": 0.0 if free else weight_decay,
            }
            for (backbone, free), parameters in sorted(groups.items())
        ]

    def sample(self, number: int) -> _Sample:
        """Views of one video; every epoch visits the videos in its own order."""
        epoch, place = divmod(number, len(self._training))
        seed = self.recipe.train.seed
        video = int(np.random.default_rng((seed, 1, epoch)).permutation(len(self._training))[place])
        chance = np.random.default_rng((seed, 2, number))
        if self.recipe.views:
            if self.recipe.objective == "instance":  # views 2n and 2n + 1 show the same frame
                first = 2 * int(chance.integers(self.recipe.views // 2))
                chosen = [first, first + 1]
            else:
                chosen = chance.choice(self.recipe.views, self.recipe.clips_per_video, replace=False).tolist()
            return _Sample(video, np.stack([self._known_view(video, view) for view in chosen]))
        stored = self._store.read(self._training[video])
        if self.recipe.objective == "instance":
            picture = stored.picture(int(chance.integers(len(stored.pictures))))
            clips = [self._view([picture], chance) for _ in range(2)]
        else:
            clips = [self._view(_crop(stored, self.recipe, chance), chance) for _ in range(self.recipe.clips_per_video)]
        return _Sample(video, np.stack(clips))

    @torch.no_grad()
    def _known_view(self, video: int, view: int) -> npt.NDArray[np.float32]:
        """What the frozen backbone says of one of a video's fixed views, [width]."""
        if (video, view) not in self._views:
            stored = self._store.read(self._training[video])
            chance = np.random.default_rng((3, video, view))
            if self.recipe.objective == "instance":
                of_pair = np.random.default_rng((4, video, view // 2))
                pictures = [stored.picture(int(of_pair.integers(len(stored.pictures))))]
            else:
                pictures = _crop(stored, self.recipe, chance)
            clip = torch.from_numpy(self._view(pictures, chance))[None].to(next(self._pair.parameters()).device)
            self._views[video, view] = self._pair.query_encoder.backbone_features(clip)[0].float().cpu().numpy()
        return self._views[video, view]

    def collate(self, samples: Sequence[_Sample]) -> _Batch:
        """Samples as one batch."""
        clips = torch.from_numpy(np.stack([sample.clips for sample in samples]))
        return _Batch(torch.tensor([sample.video for sample in samples]), clips)

    def loss(self, batch: _Batch, device: torch.device) -> dict[str, Tensor]:
        """The recipe's objective; Φ̃ follows first, and the batch's keys enter the queue afterwards."""
        pair, recipe = self._pair, self.recipe
        pair.follow(recipe.momentum)
        clips, videos = batch.clips.to(device), batch.videos.to(device)
        count, per_video = clips.shape[:2]
        queries = torch.unflatten(pair.query_encoder(clips.flatten(0, 1)), 0, (count, per_video))  # [V, C, D]
        keys = torch.unflatten(pair.keys(clips.flatten(0, 1)), 0, (count, per_video))
        key_videos = videos[:, None].expand(count, per_video)
        all_keys = torch.cat([gathered(keys.flatten(0, 1)), pair.queue])
        all_videos = torch.cat([gathered(key_videos.flatten()), pair.queue_videos])
        # Neither the video's own clips, of now or in the queue, nor places of the queue not yet filled are negatives.
        none = (all_videos[None] == videos[:, None]) | (all_videos < 0)[None]
        with torch.autocast(device.type, enabled=False):  # ranks are decided by differences of a few hundredths
            near = torch.einsum("vcd,vpd->vcp", queries.float(), keys.float())
            own = near.diagonal(dim1=1, dim2=2)  # the other encoder's view of the same clip, [V, C]
            others = ~torch.eye(per_video, dtype=torch.bool, device=device)
            near = torch.unflatten(near[:, others], 1, (per_video, per_video - 1))
            far = torch.einsum("vcd,nd->vcn", queries.float(), all_keys.float())
            far = far.masked_fill(none[:, None], -torch.inf)
            if recipe.objective == "printed_rank":
                total = printed_rank_loss_of(own, near, far, temperature=recipe.temperature)
            else:
                objective = rank_loss_of if recipe.objective == "rank" else mil_nce_loss_of
                total = objective(near, far, temperature=recipe.temperature)
        pair.enqueue(keys.flatten(0, 1), key_videos.flatten())
        with torch.no_grad():
            right = (near.amax(-1) > far.amax(-1)).float().mean()
        return {"total": total, "nearest_is_positive": right}

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Share of held-out clips whose nearest other clip is of the same video: two halves of each video compete."""
        vectors, owners = [], []
        for owner, video in enumerate(self._held_out):
            stored = self._store.read(video)
            half = max(1, len(stored.pictures) // 2)
            for places in (range(half), range(len(stored.pictures) - half, len(stored.pictures))):
                chosen = np.linspace(places[0], places[-1], self.recipe.network.frames).round().astype(int)
                clip = np.stack([square(stored.picture(place), self.recipe.network.side) for place in chosen])
                clip_on_device = torch.from_numpy(clip)[None].to(next(self._pair.parameters()).device)
                vectors.append(self._pair.query_encoder(clip_on_device)[0])
                owners.append(owner)
        if len(self._held_out) < 2:
            return {}
        cosines = torch.stack(vectors) @ torch.stack(vectors).T
        nearest = cosines.fill_diagonal_(-2).argmax(1).tolist()
        hits = [owners[other] == owner for other, owner in zip(nearest, owners, strict=True)]
        return {"same_video_at_1": sum(hits) / len(hits)}

    def save(self, folder: Path) -> None:
        """Write Φ as ``ClipEncoder.from_pretrained`` reads it."""
        save_encoder(self._pair.query_encoder, folder)

    def _view(self, pictures: Sequence[RgbImage], chance: np.random.Generator) -> npt.NDArray[np.uint8]:
        """One crop, mirroring and recolouring for all pictures of a clip; [T, S, S, 3]."""
        side = self.recipe.network.side
        height, width = pictures[0].shape[:2]
        length = max(2, round(min(height, width) * float(np.sqrt(chance.uniform(self.recipe.crop_scale, 1)))))
        top, left = int(chance.integers(height - length + 1)), int(chance.integers(width - length + 1))
        mirrored = chance.random() < 0.5
        gain, offset, grey = chance.uniform(0.7, 1.3, 3), chance.uniform(-20, 20), chance.random() < 0.1
        views = []
        for picture in pictures:
            view = square(picture[top : top + length, left : left + length], side) * gain + offset
            if grey:
                view = np.repeat(view.mean(-1, keepdims=True), 3, -1)
            views.append(np.clip(view[:, ::-1] if mirrored else view, 0, 255).astype(np.uint8))
        return np.stack(views)


def _crop(stored: StoredVideo, recipe: ClipEncoderRecipe, chance: np.random.Generator) -> list[RgbImage]:
    """Evenly spaced pictures of a random stretch within one shot; long shots are drawn more often."""
    anchor = int(chance.integers(len(stored.shots)))
    inside = np.flatnonzero(stored.shots == stored.shots[anchor])
    span = min(recipe.clip_pictures, len(inside))
    start = int(np.clip(anchor - chance.integers(span), inside[0], inside[-1] - span + 1))
    chosen = np.linspace(start, start + span - 1, recipe.network.frames).round().astype(int)
    decoded = {place: stored.picture(place) for place in set(chosen.tolist())}
    return [decoded[place] for place in chosen.tolist()]
