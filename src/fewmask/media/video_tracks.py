"""All tracks of one video, checked; `fewmask.exports.video_result.VideoResult` adds the doors to files and tools."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Self

from fewmask.errors import DatasetError
from fewmask.media.final_tracks import FinalTracks
from fewmask.media.results import FrameResult, Size, Track, check_mask, check_score, check_size
from fewmask.media.rle import Rle
from fewmask.media.score_votes import ScoreVotes


@dataclass(frozen=True, slots=True, repr=False)
class VideoTracks:
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
        source: where the frames are, if known: what `fewmask.open_frames` takes.

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
    source: str | Path | int | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        """In one line, without the tracks."""
        height, width = self.size
        count = len(self.tracks)
        about = f"{self.length} frames of {height}x{width}, {count} track{'' if count == 1 else 's'}"
        return f"{type(self).__name__}({self.name!r}, {about})"

    def __post_init__(self) -> None:
        check_size(self.size, self.name)
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
            check_score(track.score, where)
            for index, mask in enumerate(track.masks):
                check_mask(mask, self.size, f"{where}, frame {index}")

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
        source: str | Path | int | None = None,
    ) -> Self:
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
            source=source,
        )

    @classmethod
    def from_final(
        cls,
        final: FinalTracks,
        results: Iterable[FrameResult],
        *,
        name: str,
        size: Size,
        categories: Mapping[int, str],
        fps: float | None = None,
        file_names: tuple[str, ...] | None = None,
        source: str | Path | int | None = None,
    ) -> Self:
        """Gather ``final``'s tracks in its order; the video ends with the last result, frames between are unknown.

        Args:
            results: of the whole video, ascending.
            file_names: of at least as many frames.
        """
        masks: dict[int, dict[int, Rle]] = {track.track_id: {} for track in final.tracks}
        known = []
        for result in results:
            known.append(result.index)
            shown = final.of(result)
            for track_id, mask in zip(shown.track_ids, shown.masks, strict=True):
                if mask is not None:
                    masks[track_id][result.index] = mask
        length = known[-1] + 1 if known else 0
        return cls(
            name=name,
            size=size,
            length=length,
            tracks=tuple(
                replace(track, masks=tuple(masks[track.track_id].get(index) for index in range(length)))
                for track in final.tracks
            ),
            categories=dict(categories),
            fps=fps,
            file_names=None if file_names is None else file_names[:length],
            annotated_frames=None if len(known) == length else tuple(known),
            source=source,
        )

    @property
    def known_frames(self) -> Iterable[int]:
        """Indices of the frames whose content is known, ascending."""
        return range(self.length) if self.annotated_frames is None else self.annotated_frames

    def frame(self, index: int) -> FrameResult:
        """One known frame; every track is listed, with None where it is absent.

        Raises:
            DatasetError: the frame lies outside the video, or is not annotated.
        """
        if index not in self.known_frames:
            raise DatasetError(f"{self.name}: frame {index} is not among the video's known frames")
        return FrameResult(
            index,
            self.size,
            tuple(track.track_id for track in self.tracks),
            tuple(track.category_id for track in self.tracks),
            tuple(track.score for track in self.tracks),
            tuple(track.masks[index] for track in self.tracks),
            None if self.fps is None else index / self.fps,
        )

    def frames(self) -> Iterator[FrameResult]:
        """The known frames in order; every track is listed in each, with None where it is absent."""
        track_ids = tuple(track.track_id for track in self.tracks)
        category_ids = tuple(track.category_id for track in self.tracks)
        scores = tuple(track.score for track in self.tracks)
        for index in self.known_frames:
            masks = tuple(track.masks[index] for track in self.tracks)
            time_s = None if self.fps is None else index / self.fps
            yield FrameResult(index, self.size, track_ids, category_ids, scores, masks, time_s)


class _GatheredTrack:
    """One track while its frames come in: masks by frame, scores and votes for the class."""

    def __init__(self) -> None:
        self.masks: dict[int, Rle] = {}
        self.present = ScoreVotes()
        self.absent = ScoreVotes()

    def add(self, index: int, category_id: int, score: float, mask: Rle | None) -> None:
        if mask is None:
            self.absent.add(category_id, score)
        else:
            self.masks[index] = mask
            self.present.add(category_id, score)

    def as_track(self, track_id: int, length: int) -> Track:
        votes = self.present if self.masks else self.absent
        masks = tuple(self.masks.get(index) for index in range(length))
        return Track(track_id, votes.category(), votes.mean, masks)
