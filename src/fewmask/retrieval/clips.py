"""Clips of a video: a few seconds inside one shot, shown by a handful of small square frames."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.media.frame_source import Frame, RgbImage
from fewmask.retrieval.looks import Look, Looks, look_of
from fewmask.retrieval.shots import CutDetector

FRAMES = 5
SIDE = 224
SECONDS = 5.0
"""Length of a clip in the paper's pool (YouTube-8M Segments)."""
_FRAMES_WITHOUT_RATE = 24  # the paper's support clips, for sources that carry no time
_HELD = 32
_LOOKS_HELD = 1024


@dataclass(frozen=True, eq=False)
class Clip:
    """Part of one shot.

    Attributes:
        first: index of its first frame in the video.
        last: index of its last frame.
        pictures: uint8 [FRAMES, SIDE, SIDE, 3], evenly spaced from first to last; the last repeats in clips shorter
            than FRAMES.
        looks: of all its frames, uint8 [T, 144]; thinned out evenly where there are very many.
    """

    first: int
    last: int
    pictures: npt.NDArray[np.uint8]
    looks: Looks


def cut_clips(frames: Iterable[Frame], fps: float | None, *, seconds: float = SECONDS) -> Iterator[Clip]:
    """Cut a video into clips that lie within one shot each, in one pass and a few MB of memory.

    Shots longer than ``seconds`` give several clips; a rest below half a clip is left out, and so is a shot of fewer
    than FRAMES frames unless the video has nothing else.

    Args:
        frames: the video's frames in order.
        fps: their rate; None takes 24 frames as one clip.
        seconds: length of a clip, above 0.
    """
    longest = max(FRAMES, round(seconds * fps) if fps else _FRAMES_WITHOUT_RATE)
    detector, held = CutDetector(), _Held()
    any_clip, continues_shot = False, False
    shortest: Clip | None = None
    for frame in frames:
        if detector.starts_shot(frame.rgb) and held.count:
            if held.count >= (longest / 2 if continues_shot else FRAMES):
                yield held.clip()
                any_clip = True
            elif not any_clip and not continues_shot:
                shortest = held.clip()
            held, continues_shot = _Held(), False
        elif held.count == longest:
            yield held.clip()
            any_clip = True
            held, continues_shot = _Held(), True
        held.add(frame)
    if held.count >= (longest / 2 if continues_shot else FRAMES) or (held.count and not any_clip and shortest is None):
        yield held.clip()
    elif not any_clip and shortest is not None:
        yield shortest


class _Held:
    """The frames of the clip being gathered, thinned out evenly when they become many."""

    def __init__(self) -> None:
        self.count = 0
        self._step = 1
        self._kept: list[tuple[int, RgbImage]] = []
        self._newest: tuple[int, RgbImage] | None = None
        self._looks: list[Look] = []
        self._looks_step = 1

    def add(self, frame: Frame) -> None:
        if self.count % self._step == 0:
            self._kept.append((frame.index, square(frame.rgb)))
            if len(self._kept) > _HELD:
                self._kept, self._step = self._kept[::2], 2 * self._step
        if self.count % self._looks_step == 0:
            self._looks.append(look_of(frame.rgb))
            if len(self._looks) > _LOOKS_HELD:
                self._looks, self._looks_step = self._looks[::2], 2 * self._looks_step
        self._newest = (frame.index, frame.rgb)
        self.count += 1

    def clip(self) -> Clip:
        assert self._newest is not None
        kept = list(self._kept)
        if kept[-1][0] != self._newest[0]:
            kept.append((self._newest[0], square(self._newest[1])))
        chosen = np.linspace(0, len(kept) - 1, FRAMES).round().astype(int) if len(kept) >= FRAMES else range(FRAMES)
        pictures = np.stack([kept[min(place, len(kept) - 1)][1] for place in chosen])
        return Clip(kept[0][0], kept[-1][0], pictures, np.stack(self._looks))


def square(rgb: RgbImage, side: int = SIDE) -> RgbImage:
    """The largest centred square of a picture, uint8 [side, side, 3]."""
    height, width = rgb.shape[:2]
    length = min(height, width)
    top, left = (height - length) // 2, (width - length) // 2
    crop = rgb[top : top + length, left : left + length]
    smooth = cv2.INTER_AREA if length > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (side, side), interpolation=smooth), np.uint8)
