"""What a method found: masks with track ids in one frame (FrameResult) or over a whole video (VideoResult)."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewmask.errors import DatasetError
from fewmask.media.export_ytvis import write_ytvis_zip
from fewmask.media.rle import Rle

if TYPE_CHECKING:
    import supervision

__all__ = ["FrameResult", "Size", "Track", "VideoResult", "write_ytvis_zip"]

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The tracks known in one frame; the tuples line up.

    Attributes:
        index: the frame's true position in the video, from 0.
        size: (height, width) in pixels.
        track_ids: one id per track, unique within the frame, the same over the whole video.
        category_ids: the class of each track, here and now.
        scores: confidence of each track, finite; usually in [0, 1].
        masks: the pixels of each track, or None where the track is absent.
        time_s: seconds since the first frame, where known.

    Raises:
        DatasetError: the tuples differ in length, an id appears twice, a score is not finite, a mask has another size.
    """

    index: int
    size: Size
    track_ids: tuple[int, ...]
    category_ids: tuple[int, ...]
    scores: tuple[float, ...]
    masks: tuple[Rle | None, ...]
    time_s: float | None = None

    def __post_init__(self) -> None:
        where = f"frame {self.index}"
        if self.index < 0:
            raise DatasetError(f"{where}: a frame index must not be negative")
        _check_size(self.size, where)
        lengths = [len(self.track_ids), len(self.category_ids), len(self.scores), len(self.masks)]
        if len(set(lengths)) > 1:
            raise DatasetError(
                f"{where}: {lengths[0]} track ids, {lengths[1]} categories, {lengths[2]} scores and {lengths[3]} "
                "masks; give one of each per track"
            )
        if len(set(self.track_ids)) < len(self.track_ids):
            twice = next(track_id for track_id, times in Counter(self.track_ids).items() if times > 1)
            raise DatasetError(f"{where}: track id {twice} appears twice; ids are unique within a frame")
        for track_id, score, mask in zip(self.track_ids, self.scores, self.masks, strict=True):
            _check_score(score, f"{where}, track {track_id}")
            _check_mask(mask, self.size, f"{where}, track {track_id}")
        if self.time_s is not None and not math.isfinite(self.time_s):
            raise DatasetError(f"{where}: time {self.time_s} is not finite")

    def rows(self, kept: Iterable[int]) -> "FrameResult":
        """The same frame with only these rows of its tuples, in the order given.

        Raises:
            IndexError: a row that there is not.
            DatasetError: a row twice.
        """
        chosen = tuple(kept)
        return FrameResult(
            self.index,
            self.size,
            tuple(self.track_ids[row] for row in chosen),
            tuple(self.category_ids[row] for row in chosen),
            tuple(self.scores[row] for row in chosen),
            tuple(self.masks[row] for row in chosen),
            self.time_s,
        )


@dataclass(frozen=True, slots=True)
class Track:
    """One object over a whole video: ``masks`` has one entry per frame, None where the object is absent."""

    track_id: int
    category_id: int
    score: float
    masks: tuple[Rle | None, ...]


@dataclass(frozen=True, slots=True)
class VideoResult:
    """All tracks of one video, and the doors to other tools' formats.

    Attributes:
        name: the video's name, without folder and suffix.
        size: (height, width) in pixels.
        length: number of frames.
        tracks: every track, with ``length`` masks each and unique ids.
        categories: class id -> class name; covers every track.
        fps: frames per second, where known.
        file_names: one per frame for image sources.
        annotated_frames: None when every frame is known; otherwise the known frames, ascending: elsewhere a None
            mask means *unknown*, not absent.

    Raises:
        DatasetError: one of the above does not hold.
    """

    name: str
    size: Size
    length: int
    tracks: tuple[Track, ...]
    categories: Mapping[int, str]
    fps: float | None = None
    file_names: tuple[str, ...] | None = None
    annotated_frames: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check_size(self.size, self.name)
        if self.length < 0:
            raise DatasetError(f"{self.name}: a video cannot have {self.length} frames")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise DatasetError(f"{self.name}: fps {self.fps} is not a positive number")
        if self.file_names is not None and len(self.file_names) != self.length:
            raise DatasetError(f"{self.name}: {len(self.file_names)} file names for {self.length} frames")
        self._check_annotated()
        seen: set[int] = set()
        for track in self.tracks:
            where = f"{self.name}, track {track.track_id}"
            if track.track_id in seen:
                raise DatasetError(f"{where}: the id is used by two tracks; ids are unique within a video")
            seen.add(track.track_id)
            if len(track.masks) != self.length:
                raise DatasetError(f"{where}: {len(track.masks)} masks for {self.length} frames")
            if track.category_id not in self.categories:
                raise DatasetError(f"{where}: category {track.category_id} has no name; add it to categories")
            _check_score(track.score, where)
            for index, mask in enumerate(track.masks):
                _check_mask(mask, self.size, f"{where}, frame {index}")

    def _check_annotated(self) -> None:
        known = self.annotated_frames
        if known is None:
            return
        if any(later <= earlier for earlier, later in pairwise(known)):
            raise DatasetError(f"{self.name}: annotated frames must ascend, each once")
        if known and (known[0] < 0 or known[-1] >= self.length):
            raise DatasetError(f"{self.name}: annotated frames must lie in 0..{self.length - 1}")
        inside = set(known)
        for track in self.tracks:
            for index, mask in enumerate(track.masks):
                if mask is not None and index not in inside:
                    raise DatasetError(
                        f"{self.name}, track {track.track_id}: a mask in frame {index}, which is not an annotated frame"
                    )

    @classmethod
    def from_frames(
        cls,
        frames: Iterable[FrameResult],
        *,
        name: str,
        size: Size,
        categories: Mapping[int, str],
        length: int | None = None,
        fps: float | None = None,
        file_names: tuple[str, ...] | None = None,
    ) -> "VideoResult":
        """Gather frame results, in ascending order of index, into tracks sorted by id.

        A track's score is the mean over the frames where it has a mask (over all its frames when it has none), its
        class the one with the largest sum of scores there. Frames that did not come are unknown: if any is missing,
        ``annotated_frames`` lists those that came. ``length`` defaults to the last index + 1.

        Raises:
            DatasetError: indices do not ascend, or the result is not valid.
        """
        gathered: dict[int, _GatheredTrack] = {}
        known: list[int] = []
        for frame in frames:
            if known and frame.index <= known[-1]:
                raise DatasetError(f"{name}: frame {frame.index} came after frame {known[-1]}; indices must ascend")
            known.append(frame.index)
            rows = zip(frame.track_ids, frame.category_ids, frame.scores, frame.masks, strict=True)
            for track_id, category_id, score, mask in rows:
                gathered.setdefault(track_id, _GatheredTrack()).add(frame.index, category_id, score, mask)
        last = known[-1] + 1 if known else 0
        length = last if length is None else length
        if length < last:
            raise DatasetError(f"{name}: frame {last - 1} lies beyond the video's {length} frames")
        return cls(
            name=name,
            size=size,
            length=length,
            tracks=tuple(gathered[track_id].as_track(track_id, length) for track_id in sorted(gathered)),
            categories=dict(categories),
            fps=fps,
            file_names=file_names,
            annotated_frames=None if len(known) == length else tuple(known),
        )

    @property
    def known_frames(self) -> Iterable[int]:
        """Indices of the frames whose content is known, ascending."""
        return range(self.length) if self.annotated_frames is None else self.annotated_frames

    def frames(self) -> Iterator[FrameResult]:
        """The known frames in order; every track is listed in each, with None where it is absent."""
        track_ids = tuple(track.track_id for track in self.tracks)
        category_ids = tuple(track.category_id for track in self.tracks)
        scores = tuple(track.score for track in self.tracks)
        for index in self.known_frames:
            masks = tuple(track.masks[index] for track in self.tracks)
            time_s = None if self.fps is None else index / self.fps
            yield FrameResult(index, self.size, track_ids, category_ids, scores, masks, time_s)

    def to_ytvis(self, video_id: int = 1) -> list[dict[str, Any]]:
        """YouTube-VIS results; see `fewmask.media.export_ytvis`."""
        from fewmask.media.export_ytvis import ytvis_results

        return ytvis_results(self, video_id)

    def to_coco(self, first_image_id: int = 1) -> dict[str, Any]:
        """A COCO dataset with one image per known frame; see `fewmask.media.export_coco`."""
        from fewmask.media.export_coco import coco_dataset

        return coco_dataset(self, first_image_id)

    def to_davis(self, folder: str | Path) -> Path:
        """Palette PNGs 00000.png, 00001.png, ... in ``folder``; see `fewmask.media.export_davis`."""
        from fewmask.media.export_davis import write_davis

        return write_davis(self, Path(folder))

    def to_cvat(self) -> str:
        """CVAT for video 1.1 XML; see `fewmask.media.export_cvat`."""
        from fewmask.media.export_cvat import cvat_xml

        return cvat_xml(self)

    def to_label_studio(self, video_url: str, *, frames_url: str | None = None) -> list[dict[str, Any]]:
        """Label Studio tasks with predictions; see `fewmask.media.export_label_studio` for the labelling configs.

        Args:
            video_url: where Label Studio finds the video.
            frames_url: where it finds a folder with the video's frames (their own names for image sources, else
                00000.jpg, 00001.jpg, ...). With it there is one image task per known frame, with exact masks;
                without it one video task, with the tracks as boxes: Label Studio has no masks in videos.
        """
        from fewmask.media.export_label_studio import label_studio_tasks

        return label_studio_tasks(self, video_url, frames_url)

    def to_supervision(self, frame_index: int) -> "supervision.Detections":
        """One frame as supervision's Detections; see `fewmask.media.export_supervision`."""
        from fewmask.media.export_supervision import supervision_detections

        return supervision_detections(self, frame_index)


class _GatheredTrack:
    """One track while its frames come in: masks by frame, scores and votes for the class."""

    def __init__(self) -> None:
        self.masks: dict[int, Rle] = {}
        self.present = _ScoreVotes()
        self.absent = _ScoreVotes()

    def add(self, index: int, category_id: int, score: float, mask: Rle | None) -> None:
        if mask is None:
            self.absent.add(category_id, score)
        else:
            self.masks[index] = mask
            self.present.add(category_id, score)

    def as_track(self, track_id: int, length: int) -> Track:
        votes = self.present if self.masks else self.absent
        masks = tuple(self.masks.get(index) for index in range(length))
        return Track(track_id, votes.category(), votes.total / votes.count, masks)


class _ScoreVotes:
    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.by_category: dict[int, float] = {}

    def add(self, category_id: int, score: float) -> None:
        self.count += 1
        self.total += score
        self.by_category[category_id] = self.by_category.get(category_id, 0.0) + score

    def category(self) -> int:
        return max(self.by_category, key=lambda category_id: (self.by_category[category_id], -category_id))


def _check_size(size: Size, where: str) -> None:
    if len(size) != 2 or min(size) < 1:
        raise DatasetError(f"{where}: size {size} must be (height, width), both at least 1")


def _check_score(score: float, where: str) -> None:
    if not math.isfinite(score):
        raise DatasetError(f"{where}: score {score} is not finite")


def _check_mask(mask: Rle | None, size: Size, where: str) -> None:
    if mask is not None and tuple(mask["size"]) != tuple(size):
        raise DatasetError(f"{where}: the mask is {mask['size'][0]}x{mask['size'][1]}, the video {size[0]}x{size[1]}")
