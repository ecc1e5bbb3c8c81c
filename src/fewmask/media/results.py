"""What a method found: masks with track ids in one frame (`FrameResult`), and one object over a video (`Track`)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fewmask.errors import DatasetError
from fewmask.media.detections import detections
from fewmask.media.rle import Rle

if TYPE_CHECKING:
    import supervision

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, repr=False)
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
        check_size(self.size, where)
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
            check_score(score, f"{where}, track {track_id}")
            check_mask(mask, self.size, f"{where}, track {track_id}")
        if self.time_s is not None and not math.isfinite(self.time_s):
            raise DatasetError(f"{where}: time {self.time_s} is not finite")

    def __repr__(self) -> str:
        """In one line, without the masks."""
        height, width = self.size
        ids = ", ".join(f"{i}" if mask else f"({i})" for i, mask in zip(self.track_ids, self.masks, strict=True))
        return f"FrameResult(frame {self.index}, {height}x{width}, tracks {ids or 'none'})"

    def to_supervision(self, categories: Mapping[int, str] | None = None) -> "supervision.Detections":
        """The tracks that are there as supervision's Detections, track ids as tracker_id.

        Args:
            categories: class names by id, for ``class_name``; without them the number stands there.

        Raises:
            FewmaskError: supervision is not installed.
        """
        return detections(self.size, self.track_ids, self.category_ids, self.scores, self.masks, categories or {})

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


@dataclass(frozen=True, slots=True, repr=False)
class Track:
    """One object over a whole video: ``masks`` has one entry per frame, None where the object is absent."""

    track_id: int
    category_id: int
    score: float
    masks: tuple[Rle | None, ...]

    def __repr__(self) -> str:
        """In one line, without the masks."""
        present = sum(mask is not None for mask in self.masks)
        about = f"id {self.track_id}, category {self.category_id}, score {self.score:.3f}"
        return f"Track({about}, in {present} of {len(self.masks)} frames)"


def check_size(size: Size, where: str) -> None:
    """Refuse a size that is not two numbers of at least 1; ``where`` begins the message."""
    if len(size) != 2 or min(size) < 1:
        raise DatasetError(f"{where}: size {size} must be (height, width), both at least 1")


def check_score(score: float, where: str) -> None:
    """Refuse a score that is not finite."""
    if not math.isfinite(score):
        raise DatasetError(f"{where}: score {score} is not finite")


def check_mask(mask: Rle | None, size: Size, where: str) -> None:
    """Refuse a mask of another size."""
    if mask is not None and tuple(mask["size"]) != tuple(size):
        raise DatasetError(f"{where}: the mask is {mask['size'][0]}x{mask['size'][1]}, the video {size[0]}x{size[1]}")
