"""A track as a few pictures of its object, whichever stage found it: what is embedded, shown and handed on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fewmask.media import rle
from fewmask.media.frame_source import RgbImage
from fewmask.media.frames import open_frames
from fewmask.media.image_files import read_rgb
from fewmask.media.rle import Rle
from fewmask.mining.mined_dataset import dataset_frames, file_name
from fewmask.mining.mined_video import MinedMask, MinedVideo

SIDE = 160
"""Pixels of a picture of an object; what the bundled clip encoder sees."""
MARGIN = 0.15
"""Of the longer side of the object's box, around it."""
BACKGROUND = 0.25
"""How much of the surroundings is left in a picture of an object; the rest is grey."""
_GREY = 124


@dataclass(frozen=True)
class TrackView:
    """An object in one frame: index of the frame and the pixels, a mask of the frame's size."""

    frame: int
    mask: Rle


@dataclass(frozen=True)
class SeenTrack:
    """A track by its best views.

    Attributes:
        video: name of the video within the run.
        source: where the video is.
        track: id within the video.
        views: in order of time, at least one.
        confidence: mean over the whole track, in [0, 1].
        length: frames in which it has a mask.
    """

    video: str
    source: str
    track: int
    views: tuple[TrackView, ...]
    confidence: float
    length: int

    @property
    def key(self) -> str:
        """Unique within a run: "dog_run#3"."""
        return f"{self.video}#{self.track}"


def mined_tracks(video: MinedVideo, keep_every: int, *, views: int, shortest: int = 2) -> list[SeenTrack]:
    """The tracks of a mined video, by views among the frames whose pictures are in the dataset.

    Args:
        keep_every: of the mining run (`MiningSettings.keep_every`).
        views: most of them per track, evenly spread over its surer half.
        shortest: tracks with fewer pictures are left out: nothing says that they are more than a flicker.
    """
    found: dict[int, list[tuple[int, MinedMask]]] = {}
    for index, masks in dataset_frames(video, keep_every).items():
        for mask in masks:
            found.setdefault(mask.track, []).append((index, mask))
    tracks = []
    for track, seen in sorted(found.items()):
        if len(seen) < shortest:
            continue
        sure = sorted(seen, key=lambda entry: -entry[1].confidence)[: max(views, -(-len(seen) // 2))]
        sure.sort(key=lambda entry: entry[0])
        places = np.linspace(0, len(sure) - 1, min(views, len(sure))).round().astype(int)
        chosen = tuple(TrackView(sure[place][0], sure[place][1].mask) for place in places.tolist())
        confidence = sum(mask.confidence for _, mask in seen) / len(seen)
        tracks.append(SeenTrack(video.name, video.source, track, chosen, confidence, len(seen)))
    return tracks


def mined_picture(dataset: Path, video: str, frame: int) -> RgbImage:
    """A whole frame of a mined video, out of the dataset's folder of images.

    Raises:
        VideoError: the picture is gone or damaged.
    """
    return read_rgb(dataset / "images" / file_name(video, frame))


def pictures_of(source: str, wanted: Iterable[int]) -> Iterator[tuple[int, RgbImage]]:
    """Frames of a video by index, ascending; decoding starts at the first and ends with the last of them.

    Raises:
        VideoError: the video is gone or damaged.
    """
    indices = sorted(set(wanted))
    if not indices:
        return
    with open_frames(source, start=indices[0], skip_broken=True) as frames:
        left = set(indices)
        for frame in frames:
            if frame.index in left:
                yield frame.index, frame.rgb
            if frame.index >= indices[-1]:
                return


def object_picture(rgb: RgbImage, mask: Rle, side: int = SIDE) -> RgbImage:
    """A square picture of an object, its surroundings faded to grey: uint8 [side, side, 3]."""
    x, y, width, height = rle.bbox(mask)
    length = (1 + 2 * MARGIN) * max(width, height, 4.0)
    left, top = x + width / 2 - length / 2, y + height / 2 - length / 2
    scale = side / length
    affine = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], dtype=np.float32)
    shrinks = scale < 1
    if shrinks:  # warping samples single pixels; blur first what would alias
        blur = max(1, round(1 / scale)) | 1
        rgb = np.asarray(cv2.blur(rgb, (blur, blur)), np.uint8)
    grey = (_GREY, _GREY, _GREY)
    seen = cv2.warpAffine(rgb, affine, (side, side), flags=cv2.INTER_LINEAR, borderValue=grey)
    inside = cv2.warpAffine(rle.decode(mask).astype(np.float32), affine, (side, side), flags=cv2.INTER_LINEAR)
    share = BACKGROUND + (1 - BACKGROUND) * inside[..., None]
    return np.asarray((share * seen + (1 - share) * _GREY).round(), np.uint8)


def strip(pictures: Sequence[RgbImage], count: int) -> list[RgbImage]:
    """``count`` pictures: evenly chosen from more, the last one repeated where there are fewer."""
    if len(pictures) >= count:
        return [pictures[place] for place in np.linspace(0, len(pictures) - 1, count).round().astype(int).tolist()]
    return [*pictures, *[pictures[-1]] * (count - len(pictures))]


def by_video(tracks: Iterable[SeenTrack]) -> Mapping[str, list[SeenTrack]]:
    """Tracks by the name of their video, in the order they come."""
    found: dict[str, list[SeenTrack]] = {}
    for track in tracks:
        found.setdefault(track.video, []).append(track)
    return found
