"""What mining found in one video, mask by mask with its evidence, and its file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from fewmask.datasets.json_file import MAX_SIDE
from fewmask.datasets.run_lengths import measure_runs
from fewmask.errors import DatasetError
from fewmask.exports.video_result import VideoResult
from fewmask.media.atomic import write_json
from fewmask.media.own_files import read_json
from fewmask.media.results import Track
from fewmask.media.rle import Rle
from fewmask.mining.frame_candidates import FrameCandidates
from fewmask.mining.selection import Selection
from fewmask.mining.settings import MiningSettings
from fewmask.mining.tracks import link_tracks, stability

CATEGORY = {1: "object"}
VideoName = Annotated[str, Field(pattern=r"^[\w-]+$")]
"""Of a video within a run; files are named after it."""
_Share = Annotated[float, Field(ge=0, le=1.000001)]


@dataclass(frozen=True)
class MinedMask:
    """One selected mask and why it was kept.

    Attributes:
        track: id within the video, from 1.
        mask: its pixels.
        score: the proposer's score.
        foreground: mean probability of foreground inside the mask, in [0, 1].
        stability: mean IoU with the same track in the neighbouring frames, in [0, 1].
        rank: place of the frame's chosen combination among its K, from 0.
        margin: how much dearer the video gets when the frame takes another combination, see `Selection`; None = no
            other.
    """

    track: int
    mask: Rle
    score: float
    foreground: float
    stability: float
    rank: int
    margin: float | None

    @property
    def confidence(self) -> float:
        """Geometric mean of foreground and stability, in [0, 1]: what the review page sorts and filters by."""
        return math.sqrt(self.foreground * self.stability)

    def evidence(self) -> dict[str, Any]:
        """The figures alone, for annotation files."""
        return {
            "score": round(self.score, 6),
            "foreground": round(self.foreground, 6),
            "stability": round(self.stability, 6),
            "confidence": round(self.confidence, 6),
            "rank": self.rank,
            "margin": None if self.margin is None else round(self.margin, 9),
        }


@dataclass(frozen=True)
class MinedVideo:
    """The selection of one video.

    Attributes:
        name: unique within the run.
        source: where it came from.
        size: (height, width).
        fps: frames per second, where known.
        frames: selected masks per frame looked at.
        cost: the objective of the whole video (Eq. 11).
        pairs_evaluated: synthetic flows that were needed.
        pairs: synthetic flows that a full table would have needed.
        proposals: mask candidates over all frames.
        frame_step: one frame of the source in so many was looked at.
        note: why the video ended early, if it did.
    """

    name: str
    source: str
    size: tuple[int, int]
    fps: float | None
    frames: tuple[tuple[MinedMask, ...], ...]
    cost: float
    pairs_evaluated: int
    pairs: int
    proposals: int
    frame_step: int = 1
    note: str | None = None

    def as_result(self) -> VideoResult:
        """Every track over every frame; a track's score is the mean confidence of its masks."""
        length = (len(self.frames) - 1) * self.frame_step + 1
        found: dict[int, dict[int, MinedMask]] = {}
        for t, masks in enumerate(self.frames):
            for mask in masks:
                found.setdefault(mask.track, {})[t * self.frame_step] = mask
        tracks = [
            Track(
                track_id=track,
                category_id=1,
                score=sum(mask.confidence for mask in by_frame.values()) / len(by_frame),
                masks=tuple(by_frame[t].mask if t in by_frame else None for t in range(length)),
            )
            for track, by_frame in sorted(found.items())
        ]
        known = None if self.frame_step == 1 else tuple(range(0, length, self.frame_step))
        return VideoResult(self.name, self.size, length, tuple(tracks), CATEGORY, self.fps, annotated_frames=known)

    def write(self, path: Path) -> None:
        """One JSON file, whole or not at all."""
        frames = [
            [[m.track, m.mask["counts"], m.score, m.foreground, m.stability, m.rank, m.margin] for m in masks]
            for masks in self.frames
        ]
        plain = {name: value for name, value in vars(self).items() if name != "frames"}
        write_json(path, {**plain, "frames": frames})

    @classmethod
    def read(cls, path: Path) -> "MinedVideo":
        """What `write` wrote.

        Raises:
            DatasetError: missing or not such a file.
        """
        record = read_json(path, _MinedFile, "remove it and resume, and its video is mined again")
        height, width = record.size
        counts = [row[1] for masks in record.frames for row in masks]
        covered, _ = measure_runs(counts)
        if any(pixels != height * width for pixels in covered.tolist()):
            raise DatasetError(f"{path}: a mask does not cover {width}x{height} pixels; remove it and resume")
        frames = tuple(
            tuple(MinedMask(row[0], {"size": [height, width], "counts": row[1]}, *row[2:]) for row in masks)
            for masks in record.frames
        )
        return cls(**{**dict(record), "frames": frames})


class _MinedFile(BaseModel):
    """The file of a `MinedVideo`; rows of ``frames`` are the fields of `MinedMask`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: VideoName
    source: str
    size: tuple[Annotated[int, Field(ge=1, le=MAX_SIDE)], Annotated[int, Field(ge=1, le=MAX_SIDE)]]
    fps: PositiveFloat | None
    frames: Annotated[
        list[list[tuple[PositiveInt, str, float, _Share, _Share, NonNegativeInt, float | None]]], Field(min_length=1)
    ]
    cost: float
    pairs_evaluated: NonNegativeInt
    pairs: NonNegativeInt
    proposals: NonNegativeInt
    frame_step: Annotated[int, Field(ge=1, le=1_000_000)]
    note: str | None


def gather(
    frames: Sequence[FrameCandidates],
    selection: Selection,
    settings: MiningSettings,
    *,
    name: str,
    source: str,
    fps: float | None,
    note: str | None,
) -> MinedVideo:
    """Turn the best path into tracks with evidence; ``frames`` and ``selection`` belong together."""
    chosen = [frame.combinations[rank][1] for frame, rank in zip(frames, selection.ranks, strict=True)]
    masks = [[frame.masks[i] for i in indices] for frame, indices in zip(frames, chosen, strict=True)]
    ids = link_tracks(masks, settings.link_iou, settings.link_gap)
    steady = stability(masks, ids)
    mined = []
    for t, frame in enumerate(frames):
        margin = selection.margins[t]
        mined.append(
            tuple(
                MinedMask(
                    track=ids[t][place],
                    mask=masks[t][place],
                    score=frame.scores[i],
                    foreground=1 - frame.backgrounds[i],
                    stability=steady[t][place],
                    rank=selection.ranks[t],
                    margin=margin if math.isfinite(margin) else None,
                )
                for place, i in enumerate(chosen[t])
            )
        )
    return MinedVideo(
        name=name,
        source=source,
        size=frames[0].size,
        fps=fps,
        frames=tuple(mined),
        cost=selection.cost,
        pairs_evaluated=selection.pairs_evaluated,
        pairs=selection.pairs,
        proposals=sum(len(frame.masks) for frame in frames),
        frame_step=settings.frame_step,
        note=note,
    )
