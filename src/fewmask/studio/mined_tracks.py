"""Mined tracks to review: their figures, a large picture and a moving one of each, and what a person decided."""

import fcntl
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

from fewmask.corrections.journal import VersionConflictError
from fewmask.errors import ConfigError, FewmaskError
from fewmask.media import rle
from fewmask.media.atomic import write_json
from fewmask.media.frame_source import RgbImage
from fewmask.mining.mined_dataset import file_name
from fewmask.mining.mined_video import MinedMask, MinedVideo
from fewmask.mining.review_page import Decisions, read_decisions
from fewmask.mining.track_figures import track_figures
from fewmask.studio.frame_reader import encoded, resized
from fewmask.studio.library import NotOpenedError, inside, read_manifest

REVIEW = "review.json"
State = Literal["accepted", "rejected", "undecided"]
_OPEN_VIDEOS = 8
_MOVING_FRAMES = 14
_COLOUR = (255, 214, 64)

Reads = Callable[[Path, int], RgbImage]
"""Gives a frame of a video."""


@dataclass(frozen=True)
class Decision:
    """What was decided of a track, and what the page showed before: nobody's decision is overwritten unseen."""

    video: str
    track: int
    state: State
    was: State


class MinedTracks:
    """One mined dataset; threads may share it.

    Args:
        folder: the dataset.
        read: gives a frame of a source video; it raises FewmaskError where it cannot.
    """

    def __init__(self, folder: Path, read: Reads) -> None:
        self._folder, self._read = folder, read
        self._videos: OrderedDict[str, MinedVideo] = OrderedDict()
        self._lock = threading.Lock()

    def tracks(self) -> Iterator[dict[str, Any]]:
        """Every track with its figures, in the order of the videos."""
        decided = self.decisions()
        for name in self._names():
            video = self._video(name)
            for track, seen in sorted(_by_track(video).items()):
                yield {**track_figures(video, track, seen), "state": _state(decided, name, track)}

    def decisions(self) -> Decisions:
        """What was decided so far, from ``review.json``."""
        path = self._folder / REVIEW
        return read_decisions(path) if path.exists() else Decisions(frozenset(), frozenset())

    def decide(self, wanted: Iterable[Decision]) -> Decisions:
        """Write decisions back, all of them or none; they are on the disk when this returns.

        Raises:
            VersionConflictError: a track was decided otherwise meanwhile.
            ConfigError: a track that there is not.
        """
        names = set(self._names())
        with self._writing():
            decided = self.decisions()
            accepted, rejected = set(decided.accepted), set(decided.rejected)
            for one in wanted:
                if one.video not in names or one.track not in _by_track(self._video(one.video)):
                    raise ConfigError(f"{one.video[:60]!r} has no track {one.track}")
                now = _state(decided, one.video, one.track)
                if now not in (one.was, one.state):
                    raise VersionConflictError(
                        f"track {one.track} of {one.video} was {now} elsewhere meanwhile; look again and decide"
                    )
                key = (one.video, one.track)
                accepted.discard(key)
                rejected.discard(key)
                if one.state != "undecided":
                    (accepted if one.state == "accepted" else rejected).add(key)
            lists = {"accepted": sorted(map(list, accepted)), "rejected": sorted(map(list, rejected))}
            write_json(self._folder / REVIEW, lists, indent=1)
        return Decisions(frozenset(accepted), frozenset(rejected))

    def picture(self, name: str, track: int, width: int) -> bytes:
        """The track where it is largest, in the whole frame, as JPEG.

        Raises:
            NotOpenedError: there is no such track.
            FewmaskError: its frame cannot be read.
        """
        video, seen = self._seen(name, track)
        index, mask = max(seen, key=lambda pair: rle.area(pair[1].mask))
        return encoded(_outlined(resized(self._frame(video, index), width), mask), 0)

    def moving(self, name: str, track: int, width: int) -> bytes:
        """The track over its time, cut to its surroundings, as animated WebP."""
        video, seen = self._seen(name, track)
        places = np.linspace(0, len(seen) - 1, min(_MOVING_FRAMES, len(seen))).round().astype(int)
        pictures = []
        for place in places.tolist():
            index, mask = seen[place]
            try:
                rgb = self._frame(video, index)
            except FewmaskError:
                continue
            pictures.append((rgb, mask))
        if not pictures:
            raise FewmaskError(f"{video.name}: no frame of track {track} can be read; is the video still there?")
        left, top, right, bottom = _surroundings([mask for _, mask in pictures], video.size)
        shown = []
        for rgb, mask in pictures:
            whole = _outlined(rgb, mask)
            shown.append(Image.fromarray(resized(np.ascontiguousarray(whole[top:bottom, left:right]), width)))
        written = io.BytesIO()
        shown[0].save(
            written, "WEBP", save_all=True, append_images=shown[1:], duration=140, loop=0, quality=70, method=0
        )
        return written.getvalue()

    def _names(self) -> list[str]:
        names = read_manifest(self._folder).get("progress", {}).get("names")
        results = self._folder / "results"
        known = names if isinstance(names, list) else sorted(path.stem for path in results.glob("*.json"))
        return [name for name in known if isinstance(name, str) and (results / f"{name}.json").exists()]

    def _video(self, name: str) -> MinedVideo:
        with self._lock:
            video = self._videos.get(name)
            if video is None:
                video = self._videos[name] = MinedVideo.read(inside(self._folder / "results", f"{name}.json"))
            self._videos.move_to_end(name)
            while len(self._videos) > _OPEN_VIDEOS:
                self._videos.popitem(last=False)
            return video

    def _seen(self, name: str, track: int) -> tuple[MinedVideo, list[tuple[int, MinedMask]]]:
        if name not in self._names():
            raise NotOpenedError(f"{name[:60]!r} is no video of this dataset")
        video = self._video(name)
        seen = _by_track(video).get(track)
        if not seen:
            raise NotOpenedError(f"{name} has no track {track}")
        return video, seen

    def _frame(self, video: MinedVideo, index: int) -> RgbImage:
        """From the dataset's own pictures where it kept the frame, else from the source."""
        try:
            kept = inside(self._folder / "images", file_name(video.name, index))
            picture = cv2.imread(str(kept), cv2.IMREAD_COLOR_RGB)
        except NotOpenedError:
            picture = None
        if picture is not None and picture.shape[:2] == video.size:
            return np.asarray(picture, np.uint8)
        if "://" in video.source or not Path(video.source).exists():
            raise FewmaskError(f"{video.name}: frame {index} was not kept and the video is gone")
        rgb = self._read(Path(video.source), index)
        if rgb.shape[:2] != video.size:
            raise FewmaskError(f"{video.source}: is another video now")
        return rgb

    @contextmanager
    def _writing(self) -> Iterator[None]:
        handle = os.open(self._folder / f".{REVIEW}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _by_track(video: MinedVideo) -> Mapping[int, list[tuple[int, MinedMask]]]:
    tracks: dict[int, list[tuple[int, MinedMask]]] = {}
    for place, masks in enumerate(video.frames):
        for mask in masks:
            tracks.setdefault(mask.track, []).append((place * video.frame_step, mask))
    return tracks


def _state(decided: Decisions, video: str, track: int) -> State:
    key = (video, track)
    return "accepted" if key in decided.accepted else "rejected" if key in decided.rejected else "undecided"


def _outlined(rgb: RgbImage, mask: MinedMask) -> RgbImage:
    """A copy with the mask tinted and outlined; the picture may be smaller than the mask."""
    inside_ = rle.decode(mask.mask).astype(np.uint8)
    if inside_.shape != rgb.shape[:2]:
        inside_ = cv2.resize(inside_, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    drawn = np.array(rgb)
    drawn[inside_ > 0] = (0.72 * drawn[inside_ > 0] + 0.28 * np.array(_COLOUR)).astype(np.uint8)
    contours, _ = cv2.findContours(inside_, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, _COLOUR, max(1, rgb.shape[1] // 320), cv2.LINE_AA)
    return drawn


def _surroundings(masks: list[MinedMask], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what holds all the masks with a margin."""
    boxes = np.array([rle.bbox(mask.mask) for mask in masks])
    low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    margin = 0.25 * (high - low).max() + 8
    left, top = np.maximum(0, low - margin).astype(int).tolist()
    right, bottom = np.minimum([size[1], size[0]], high + margin + 1).astype(int).tolist()
    return left, top, right, bottom
