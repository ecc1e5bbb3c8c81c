"""Support clips: from retrieved places, given videos or pictures, or pieces of the query itself (Table 13)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from fewmask.addresses import showable
from fewmask.errors import ConfigError, VideoError
from fewmask.media.clip_place import ClipPlace
from fewmask.media.frame_source import RgbImage
from fewmask.media.frames import open_frames

_LIVE = "a live source cannot support; record some of it and give the file"


class Neighbour(Protocol):
    """A clip found in a pool and its cosine to the query."""

    @property
    def place(self) -> ClipPlace:
        """Where it lies."""

    @property
    def score(self) -> float:
        """In [-1, 1]."""


class Retrieval(Protocol):
    """What a search of a pool gives; the pool's own type is `fewmask.retrieval.retrieve.Retrieval`."""

    @property
    def neighbours(self) -> Sequence[Neighbour]:
        """Best first."""


@dataclass(frozen=True)
class SupportClip:
    """A clip that supports, and how it came to.

    Attributes:
        place: where it lies.
        origin: "given" by the user (an oracle), "retrieved" from a pool, or drawn from it at "random".
        score: cosine to the query of a retrieved one.
    """

    place: ClipPlace
    origin: Literal["given", "retrieved", "random"]
    score: float | None = None

    @property
    def label(self) -> str:
        """For people: "0.731  dog.mp4  frames 0-149"."""
        how = self.origin if self.score is None else f"{self.score:.3f}"
        return f"{how}  {self.place.title}"


def choose_supports(
    found: Retrieval | None, given: Sequence[str | Path], shots: int, *, random: Sequence[ClipPlace] = ()
) -> list[SupportClip]:
    """Few-shot (all given), self-shot (all retrieved) or semi-shot (given ones first, then retrieved ones).

    The paper's 5+(n) is ``shots`` = 5 + n at inference.

    Args:
        found: of the query; None if nothing is to be retrieved.
        given: videos, folders of frames or single pictures that show the object.
        shots: clips in all, at least as many as are given.
        random: places of a pool drawn at random, in place of retrieved ones: the baseline of Table 1.

    Raises:
        ConfigError: more are given than ``shots``, or there is none at all.
        VideoError: a given one cannot be read.
    """
    if len(given) > shots:
        raise ConfigError(f"{len(given)} supports are given for {shots} shots; raise the shots")
    chosen = [SupportClip(whole_clip(path), "given") for path in given]
    if found is not None:
        chosen += [SupportClip(near.place, "retrieved", near.score) for near in found.neighbours]
    chosen += [SupportClip(place, "random") for place in random]
    if not chosen:
        raise ConfigError("no support is given and none was found; give some, or a pool with more videos")
    return chosen[:shots]


def read_support(place: ClipPlace, frames: int, size: tuple[int, int]) -> Tensor:
    """A support clip as the network takes it: ``frames`` consecutive frames from its middle.

    The paper cuts long clips at a random position; the middle is the same every time. A shorter clip stays short, for
    a repeated last frame would add nothing to attention but weight.

    Returns:
        uint8 [T, H, W, 3], T at most ``frames``

    Raises:
        VideoError: the video is gone or damaged.
    """
    spare = max(0, place.last - place.first + 1 - frames)
    first = place.first + spare // 2
    return resized(_frames(place.video, first, min(place.last, first + frames - 1)), size)


def temporal_segments(query: Sequence[RgbImage], count: int, size: tuple[int, int]) -> list[Tensor]:
    """The query itself in ``count`` consecutive pieces: a baseline without any other video."""
    places = np.array_split(np.arange(len(query)), min(count, len(query)))
    return [resized([query[place] for place in piece], size) for piece in places]


def spatial_segments(query: Sequence[RgbImage], count: int, size: tuple[int, int], *, seed: int = 0) -> list[Tensor]:
    """``count`` random windows of half the query's width and height, followed over all its frames."""
    chance = np.random.default_rng(seed)
    height, width = query[0].shape[:2]
    half_height, half_width = max(1, height // 2), max(1, width // 2)
    clips = []
    for _ in range(count):
        top, left = chance.integers(height - half_height + 1), chance.integers(width - half_width + 1)
        clips.append(resized([rgb[top : top + half_height, left : left + half_width] for rgb in query], size))
    return clips


def resized(pictures: Iterable[RgbImage], size: tuple[int, int]) -> Tensor:
    """Pictures of any size as uint8 [T, H, W, 3]; the aspect ratio follows ``size``, as the paper's does."""
    small = [cv2.resize(rgb, (size[1], size[0]), interpolation=cv2.INTER_AREA) for rgb in pictures]
    return torch.from_numpy(np.stack(small))


def whole_clip(source: str | Path) -> ClipPlace:
    """The place of a whole video; its length is counted by decoding where the file does not say.

    Raises:
        VideoError: it cannot be read, or never ends.
    """
    with open_frames(source, skip_broken=True) as frames:
        if frames.is_live:
            raise VideoError(f"{showable(str(source))}: {_LIVE}")
        length = frames.length if frames.length is not None else sum(1 for _ in frames)
    return ClipPlace(str(source), 0, length - 1)


def _frames(video: str, first: int, last: int) -> list[RgbImage]:
    pictures = []
    with open_frames(video, start=first, skip_broken=True) as frames:
        for frame in frames:
            if frame.index <= last:
                pictures.append(frame.rgb)
            if frame.index >= last:
                break
    if not pictures:
        raise VideoError(f"{video}: has no readable frames {first} to {last}; index it again")
    return pictures
