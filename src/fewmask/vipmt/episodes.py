"""Training episodes (section 5.1): supports of a class, and three clips of a video with their memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewmask.datasets.coco import CocoDataset
from fewmask.datasets.draws import draw, seed_of
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.errors import ConfigError, DatasetError
from fewmask.media import rle
from fewmask.media.rle import BoolMask, Rle

MIN_AREA_SHARE = 0.005
"""A class counts as shown by a picture where it covers at least this share of it; smaller ones fill no token."""


@dataclass(frozen=True)
class LabelledFrame:
    """One picture on disk; ``mask_of`` gives the union of a class's instances, bool [H, W]."""

    key: str
    path: Path
    mask_of: Callable[[int], BoolMask]


@dataclass(frozen=True)
class LabelledVideo:
    """Frames in order, and for each class the frames that show it. A still picture is a video of one frame."""

    name: str
    frames: tuple[LabelledFrame, ...]
    shown: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Shot:
    """A frame as it is used once: seen through augmentation number ``view`` (0 = as it is; views.py)."""

    frame: LabelledFrame
    view: int


@dataclass(frozen=True)
class TrainingEpisode:
    """One sample. ``memories[c]`` is the memory of ``clips[c]``: none, then clip 1, then frames of clips 1 and 2."""

    category: int
    supports: tuple[Shot, ...]
    clips: tuple[tuple[Shot, ...], ...]
    memories: tuple[tuple[Shot, ...], ...]


@dataclass(frozen=True)
class EpisodeSampler:
    """Draws episodes; each is a pure function of ``seed`` and its number.

    Raises:
        DatasetError: a class is shown by too few videos to support one of them.
    """

    videos: Sequence[LabelledVideo]
    categories: Sequence[int]
    shots: int = 5
    clip_length: int = 5
    clips: int = 3
    memory_length: int = 5
    views: int = 4
    """Augmentations per picture; a small number, so that backbone features can be cached."""
    seed: int = 0

    def __post_init__(self) -> None:
        for category in self.categories:
            if len(self.showing(category)) < 2:
                raise DatasetError(
                    f"class {category} is shown by {len(self.showing(category))} videos; a query and a support need 2"
                )

    def showing(self, category: int) -> list[LabelledVideo]:
        """The videos that show a class."""
        return [video for video in self.videos if video.shown.get(category)]

    def draw(self, category: int, number: int) -> TrainingEpisode:
        """Episode ``number`` of a class.

        The released loader may take a support from the query video itself; here supports come from other videos, as
        at test time. With fewer other videos than ``shots`` there are fewer supports.
        """
        candidates = {video.name: video for video in self.showing(category)}
        key = (self.seed, category, number)
        query_name, *others = draw(candidates, len(candidates), "vipmt episode", *key)
        supports = tuple(
            Shot(self._any_frame(candidates[name], category, number), self._view(name, *key))
            for name in others[: self.shots]
        )
        clips = self._clips(candidates[query_name], category, number)
        memories: list[tuple[Shot, ...]] = [()]
        for index in range(1, len(clips)):
            past = [shot for clip in clips[:index][-2:] for shot in clip]
            count = min(self.memory_length, len(past))
            memories.append(tuple(past[i] for i in sorted(draw(range(len(past)), count, "vipmt past", *key, index))))
        return TrainingEpisode(category, supports, clips, tuple(memories))

    def _clips(self, video: LabelledVideo, category: int, number: int) -> tuple[tuple[Shot, ...], ...]:
        key = (self.seed, category, number)
        shown, length = video.shown[category], self.clip_length
        if len(shown) == 1:  # a still: the clip is one picture through changing views
            first = self._view(video.name, *key)
            frame = video.frames[shown[0]]
            return tuple(
                tuple(Shot(frame, (first + clip * length + t) % self.views) for t in range(length))
                for clip in range(self.clips)
            )
        view = self._view(video.name, *key)
        ends = list(range(length, len(shown) + 1, length)) or [len(shown)]
        chosen = sorted(draw(ends, min(self.clips, len(ends)), "vipmt clips", *key))
        chosen += [chosen[-1]] * (self.clips - len(chosen))
        return tuple(
            tuple(Shot(video.frames[shown[i]], view) for i in range(max(end - length, 0), end)) for end in chosen
        )

    def _any_frame(self, video: LabelledVideo, category: int, number: int) -> LabelledFrame:
        (index,) = draw(video.shown[category], 1, "vipmt support", self.seed, category, number, video.name)
        return video.frames[index]

    def _view(self, name: str, *key: int) -> int:
        return seed_of("vipmt view", name, *key) % self.views


def videos_of_coco(dataset: CocoDataset, categories: Iterable[int]) -> list[LabelledVideo]:
    """Every image as a still; crowds count as part of the object."""
    wanted = set(categories)
    videos = []
    for image in dataset.images:
        masks: dict[int, list[Rle]] = {}
        for annotation in dataset.annotations_of[image.id]:
            if annotation.category_id in wanted:
                masks.setdefault(annotation.category_id, []).append(annotation.mask)
        union = {category: rle.union(found) for category, found in masks.items()}
        shown = {c: (0,) for c, mask in union.items() if rle.area(mask) >= MIN_AREA_SHARE * image.height * image.width}
        if shown:
            mask_of = partial(_mask_of, union, (image.height, image.width))
            frame = LabelledFrame(f"image {image.id}", dataset.path_of(image), mask_of)
            videos.append(LabelledVideo(f"image {image.id}", (frame,), shown))
    return videos


def videos_of_ytvis(dataset: YtvisDataset, root: Path, categories: Iterable[int]) -> list[LabelledVideo]:
    """Every video of a YouTube-VIS format dataset; ``root`` is the folder of its frame files."""
    wanted = set(categories)
    tracks: dict[int, list[tuple[int, Sequence[Rle | None]]]] = {}
    for annotation in dataset.annotations:
        if annotation.category_id in wanted:
            tracks.setdefault(annotation.video_id, []).append((annotation.category_id, annotation.segmentations))
    videos = []
    for video in dataset.videos:
        frames: list[LabelledFrame] = []
        shown: dict[int, list[int]] = {}
        for index, file_name in enumerate(video.file_names):
            masks: dict[int, list[Rle]] = {}
            for category, segmentations in tracks.get(video.id, ()):
                mask = segmentations[index]
                if mask is not None and rle.area(mask):
                    masks.setdefault(category, []).append(mask)
            union = {category: rle.union(found) for category, found in masks.items()}
            for category in union:
                shown.setdefault(category, []).append(index)
            mask_of = partial(_mask_of, union, (video.height, video.width))
            frames.append(LabelledFrame(f"video {video.id} frame {index}", root / file_name, mask_of))
        if shown:
            name = f"video {video.id}"
            videos.append(LabelledVideo(name, tuple(frames), {c: tuple(found) for c, found in shown.items()}))
    return videos


def split_categories(
    videos: Sequence[LabelledVideo], categories: Iterable[int], *, least: int, held_out: int
) -> tuple[list[int], list[int]]:
    """Classes shown by at least ``least`` videos, as (training, held out); every n-th is held out for selection.

    The released code selects its checkpoint on the novel classes; holding out base classes leaks nothing.

    Raises:
        ConfigError: too few classes are left to train on.
    """
    frequent = [c for c in sorted(categories) if sum(1 for video in videos if video.shown.get(c)) >= least]
    held = set(draw(frequent, min(held_out, max(len(frequent) - 2, 0)), "vipmt held out"))
    train = [category for category in frequent if category not in held]
    if len(train) < 2:
        raise ConfigError(f"only {len(train)} classes are shown by {least} videos or more; lower least_videos")
    return train, sorted(held)


def _mask_of(masks: Mapping[int, Rle], size: tuple[int, int], category: int) -> npt.NDArray[np.bool_]:
    return rle.decode(masks[category]) if category in masks else np.zeros(size, dtype=bool)
