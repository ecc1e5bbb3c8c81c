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
UNKNOWN_SHARE = 0.2
"""Most unknown area of a class over its known area in a picture that shows it."""
_FRESH_VIEWS = 2**31


@dataclass(frozen=True)
class LabelledFrame:
    """One picture on disk; ``mask_of`` gives the union of a class's instances, bool [H, W], of ``size``."""

    key: str
    path: Path
    size: tuple[int, int]
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
    """Augmentations per picture; a small number, so that backbone features can be cached. 0 = ever new ones."""
    seed: int = 0
    clip_stride: int = 1
    """Frames from one frame of a video's clip to the next; where the video is too short for it, fewer."""
    crowded: float = 0.0
    """Share of the episodes whose query shows other classes too, so that who segments whatever stands out is wrong."""
    absent: float = 0.0
    """Share of the episodes whose query does not show the class at all: all of its masks are empty."""

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
        order = draw(candidates, len(candidates), "vipmt episode", *key)
        query, shown = self._query(category, number, [candidates[name] for name in order])
        others = [name for name in order if name != query.name]
        supports = tuple(
            Shot(self._any_frame(candidates[name], category, number), self._view(name, *key))
            for name in others[: self.shots]
        )
        clips = self._clips(query, shown, category, number)
        memories: list[tuple[Shot, ...]] = [()]
        for index in range(1, len(clips)):
            past = [shot for clip in clips[:index][-2:] for shot in clip]
            count = min(self.memory_length, len(past))
            memories.append(tuple(past[i] for i in sorted(draw(range(len(past)), count, "vipmt past", *key, index))))
        return TrainingEpisode(category, supports, clips, tuple(memories))

    def _query(
        self, category: int, number: int, candidates: Sequence[LabelledVideo]
    ) -> tuple[LabelledVideo, Sequence[int]]:
        """The query and the frames of it that may be used; ``candidates`` show the class, in the order of the draw."""
        chance = seed_of("vipmt query", self.seed, category, number) % 1000 / 1000
        if chance < self.absent:
            (other,) = draw([c for c in self.categories if c != category], 1, "vipmt absent", self.seed, number)
            without = {video.name: video for video in self.showing(other) if not video.shown.get(category)}
            if without:
                (name,) = draw(without, 1, "vipmt without", self.seed, category, number)
                return without[name], without[name].shown[other]
        crowded = [video for video in candidates if len(video.shown) > 1] if chance < self.absent + self.crowded else []
        video = crowded[0] if crowded else candidates[0]
        return video, video.shown[category]

    def _clips(
        self, video: LabelledVideo, shown: Sequence[int], category: int, number: int
    ) -> tuple[tuple[Shot, ...], ...]:
        key = (self.seed, category, number)
        length = self.clip_length
        if len(shown) == 1:  # a still: the clip is one picture through changing views
            frame = video.frames[shown[0]]
            return tuple(
                tuple(Shot(frame, self._next_view(video.name, clip * length + t, *key)) for t in range(length))
                for clip in range(self.clips)
            )
        view = self._view(video.name, *key)
        stride = max(min(self.clip_stride, len(shown) // length), 1)
        ends = list(range(length * stride, len(shown) + 1, length)) or [len(shown)]
        chosen = sorted(draw(ends, min(self.clips, len(ends)), "vipmt clips", *key))
        chosen += [chosen[-1]] * (self.clips - len(chosen))
        return tuple(
            tuple(
                Shot(video.frames[shown[i]], view) for i in range(max(end - length * stride, 0), end)[::-stride][::-1]
            )
            for end in chosen
        )

    def _any_frame(self, video: LabelledVideo, category: int, number: int) -> LabelledFrame:
        (index,) = draw(video.shown[category], 1, "vipmt support", self.seed, category, number, video.name)
        return video.frames[index]

    def _view(self, name: str, *key: int) -> int:
        return seed_of("vipmt view", name, *key) % (self.views or _FRESH_VIEWS)

    def _next_view(self, name: str, place: int, *key: int) -> int:
        """Of a still as a clip: one after the other, so that all are different as far as there are enough."""
        return (self._view(name, *key) + place) % (self.views or _FRESH_VIEWS)


def videos_of_coco(dataset: CocoDataset, categories: Iterable[int]) -> list[LabelledVideo]:
    """Every image as a still; crowds count as part of the object.

    What teacher labels mark as ``"unknown": true`` counts as nothing, and the image does not show a class of which so
    much is unknown that its mask could not be trusted.
    """
    wanted = set(categories)
    videos = []
    for image in dataset.images:
        masks: dict[int, list[Rle]] = {}
        unknown: dict[int, int] = {}
        for annotation in dataset.annotations_of[image.id]:
            if annotation.category_id not in wanted:
                continue
            if annotation.extra.get("unknown"):
                unknown[annotation.category_id] = unknown.get(annotation.category_id, 0) + rle.area(annotation.mask)
            else:
                masks.setdefault(annotation.category_id, []).append(annotation.mask)
        union = {category: rle.union(found) for category, found in masks.items()}
        areas = {category: rle.area(mask) for category, mask in union.items()}
        shown = {
            category: (0,)
            for category, area in areas.items()
            if area >= MIN_AREA_SHARE * image.height * image.width and unknown.get(category, 0) <= UNKNOWN_SHARE * area
        }
        if shown:
            mask_of = partial(_mask_of, union, (image.height, image.width))
            frame = LabelledFrame(f"image {image.id}", dataset.path_of(image), (image.height, image.width), mask_of)
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
            size = (video.height, video.width)
            mask_of = partial(_mask_of, union, size)
            frames.append(LabelledFrame(f"video {video.id} frame {index}", root / file_name, size, mask_of))
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
