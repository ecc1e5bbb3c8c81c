"""Looking for kinds in one video: VIPMT says where they are, MinVIS which objects those are, each frame once.

What comes out is every object of the segmenter with the figures that the decision needs: how much of it lies in the
class mask of each kind, how sure the background network is that it is an object, and how steady it is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from fewmask.datasets.json_file import load_object
from fewmask.datasets.segmentation import check_counts
from fewmask.errors import DatasetError, VideoError
from fewmask.media import rle
from fewmask.media.atomic import write_json
from fewmask.media.frames import Frame, open_frames
from fewmask.media.results import FrameResult
from fewmask.media.rle import Rle
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.vipmt.model import FittedVIPMT, clips_of
from fewmask.vipmt.stream import ClipStream

TRACKS = 12
"""Objects per frame that are looked at, best first."""
LEAST_SCORE = 0.2
"""Below it, objects of the segmenter are mostly parts and background."""
FOREGROUND_EVERY = 3
"""The background network looks at one frame in so many: its opinion of a track is a mean."""


class Background(Protocol):
    """What tells objects from background."""

    def background(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probability of background [H, W]."""
        ...


@dataclass
class FoundTrack:
    """One object of the segmenter over a video, and what the class masks say of it.

    Attributes:
        track: id within the video.
        masks: by frame.
        scores: of the segmenter, by frame.
        inside: per kind, pixels that lay in its class mask.
        pixels: of all masks.
        foreground: probabilities of an object inside the mask, of the frames that were asked about.
        steady: IoU of neighbouring masks laid upon one another, so that moving is no fault.
    """

    track: int
    masks: dict[int, Rle] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    inside: list[int] = field(default_factory=list)
    pixels: int = 0
    foreground: list[float] = field(default_factory=list)
    steady: list[float] = field(default_factory=list)

    def share_inside(self, kind: int) -> float:
        """Share of its pixels in the class mask of a kind, in [0, 1]."""
        return self.inside[kind] / self.pixels if self.pixels else 0.0

    @property
    def score(self) -> float:
        """Mean score over its frames."""
        return float(np.mean(list(self.scores.values()))) if self.scores else 0.0


@dataclass
class FoundVideo:
    """What was looked for in a video, and every object that was seen there.

    Attributes:
        video: name within the run.
        source: where it is.
        size: (height, width).
        kinds: names of the kinds, in the order of `FoundTrack.inside`.
        length: frames read.
        step: one frame in so many was looked at.
        note: why it ended early, if it did.
    """

    video: str
    source: str
    size: tuple[int, int]
    kinds: tuple[str, ...]
    length: int
    step: int
    tracks: list[FoundTrack]
    note: str | None = None

    def write(self, path: Path) -> None:
        """One JSON file, whole or not at all."""
        tracks = [
            {
                "track": found.track,
                "masks": {str(index): mask["counts"] for index, mask in found.masks.items()},
                "scores": {str(index): round(score, 5) for index, score in found.scores.items()},
                "inside": found.inside,
                "pixels": found.pixels,
                "foreground": [round(value, 5) for value in found.foreground],
                "steady": [round(value, 5) for value in found.steady],
            }
            for found in self.tracks
        ]
        plain = {name: value for name, value in vars(self).items() if name != "tracks"}
        write_json(path, {**plain, "tracks": tracks})

    @classmethod
    def read(cls, path: Path) -> "FoundVideo":
        """What `write` wrote.

        Raises:
            DatasetError: missing, not such a file, or a mask of another size.
        """
        try:
            record = _Record.model_validate(load_object(path))
            tracks = [track.made(record.size) for track in record.tracks]
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise DatasetError(f"{path}: {key}: {first['msg']}; delete it to look again") from error
        counts = [mask["counts"] for track in tracks for mask in track.masks.values()]
        check_counts(counts, [record.size[0] * record.size[1]] * len(counts), [str(path)] * len(counts))
        return cls(
            record.video, record.source, record.size, record.kinds, record.length, record.step, tracks, record.note
        )


class _TrackRecord(BaseModel):
    """A track in the file of a video."""

    model_config = ConfigDict(extra="forbid")

    track: int
    masks: dict[int, str]
    scores: dict[int, float]
    inside: list[int]
    pixels: NonNegativeInt
    foreground: list[float]
    steady: list[float]

    def made(self, size: tuple[int, int]) -> FoundTrack:
        masks: dict[int, Rle] = {index: {"size": list(size), "counts": counts} for index, counts in self.masks.items()}
        return FoundTrack(self.track, masks, self.scores, self.inside, self.pixels, self.foreground, self.steady)


class _Record(BaseModel):
    """The file of a video."""

    model_config = ConfigDict(extra="forbid")

    video: str
    source: str
    size: tuple[PositiveInt, PositiveInt]
    kinds: tuple[str, ...]
    length: PositiveInt
    step: PositiveInt
    note: str | None
    tracks: list[_TrackRecord]


def find_in_video(
    video: str,
    source: str,
    fitted: FittedVIPMT | None,
    model: MinVIS,
    background: Background,
    *,
    step: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> FoundVideo:
    """Every object of a video, with what speaks for each kind.

    A video that breaks off is looked at as far as it goes, and noted.

    Args:
        video: its name within the run.
        source: where it is.
        fitted: the few-shot network with the supports of all kinds; None = none is looked for, objects alone.
        model: the segmenter whose objects are judged.
        background: tells objects from background.
        step: one frame in so many is looked at.
        progress: told the frames done.

    Raises:
        VideoError: not one frame can be read.
    """
    kinds = () if fitted is None else tuple(fitted.support.classes)
    stream = None if fitted is None else ClipStream(fitted.network, fitted.support)
    clip_length = 4 if fitted is None else fitted.network.config.clip_length
    tracks: dict[int, FoundTrack] = {}
    objects_of = model.open_stream(StreamSettings(top_k=TRACKS, mode="exact", batch=clip_length))
    size, length, note, looked = (0, 0), 0, None, 0
    with open_frames(source, skip_broken=True) as frames:
        size = frames.size
        try:
            for clip in clips_of(_stepped(frames, step), clip_length):
                classes = None if stream is None else stream.step(clip)
                results = objects_of.step(clip)
                for place, (frame, objects) in enumerate(zip(clip, results, strict=True)):
                    inside = [] if classes is None else _class_masks(classes[place], len(kinds), size)
                    probability = 1 - background.background(frame.rgb) if looked % FOREGROUND_EVERY == 0 else None
                    _add_frame(tracks, objects, inside, probability)
                    looked += 1
                length = clip[-1].index + 1
                progress(length)
        except VideoError as error:
            note = str(error)
    if not length:
        raise VideoError(note or f"{source}: no frame came; check that it plays")
    found = [track for _, track in sorted(tracks.items()) if track.pixels]
    return FoundVideo(video, source, size, kinds, length, step, found, note)


def _stepped(frames: Iterable[Frame], step: int) -> Iterator[Frame]:
    return (frame for frame in frames if frame.index % step == 0)


def _class_masks(result: FrameResult, kinds: int, size: tuple[int, int]) -> list[npt.NDArray[np.bool_]]:
    masks = [np.zeros(size, dtype=bool) for _ in range(kinds)]
    for category, mask in zip(result.category_ids, result.masks, strict=True):
        if mask is not None:
            masks[category - 1] |= rle.decode(mask)
    return masks


def _add_frame(
    tracks: dict[int, FoundTrack],
    objects: FrameResult,
    classes: Sequence[npt.NDArray[np.bool_]],
    foreground: npt.NDArray[np.float32] | None,
) -> None:
    """Note what one frame says of the best objects in it."""
    rows = [
        (track_id, score, mask)
        for track_id, score, mask in zip(objects.track_ids, objects.scores, objects.masks, strict=True)
        if mask is not None and score >= LEAST_SCORE
    ][:TRACKS]
    for track_id, score, mask in rows:
        track = tracks.setdefault(track_id, FoundTrack(track_id, inside=[0] * len(classes)))
        pixels = rle.decode(mask)
        area = int(pixels.sum())
        if not area:
            continue
        if track.masks:
            track.steady.append(_same_shape(pixels, rle.decode(next(reversed(track.masks.values())))))
        track.masks[objects.index] = mask
        track.scores[objects.index] = score
        track.pixels += area
        for kind, of_class in enumerate(classes):
            track.inside[kind] += int((pixels & of_class).sum())
        if foreground is not None:
            track.foreground.append(float(foreground[pixels].mean()))


def _same_shape(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """IoU of two masks after their centres of gravity were laid upon one another, in [0, 1]."""
    places = [np.argwhere(mask) for mask in (first, second)]
    if not len(places[0]) or not len(places[1]):
        return 0.0
    moved = [at - np.floor(at.mean(0)).astype(int) for at in places]
    least = np.minimum(moved[0].min(0), moved[1].min(0))
    height, width = np.maximum(moved[0].max(0), moved[1].max(0)) - least + 1
    flat = [(at[:, 0] - least[0]) * width + at[:, 1] - least[1] for at in moved]
    canvas = np.zeros(height * width, np.uint8)
    canvas[flat[0]] += 1
    canvas[flat[1]] += 1
    return float((canvas == 2).sum() / (canvas > 0).sum())
