"""The nouns of a video instance dataset: videos, categories, annotated tracks, predicted tracks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.media import rle
from fewmask.media.rle import Rle

Box = tuple[float, float, float, float]
Pixels = npt.NDArray[np.int64]

OCCLUSION_LEVELS = ("no_occlusion", "slight_occlusion", "severe_occlusion")
"""What OVIS says of an object in one frame; null where the object is absent."""


@dataclass(frozen=True, slots=True)
class YtvisVideo:
    """One video: its size in pixels and its frames in order."""

    id: int
    width: int
    height: int
    length: int
    file_names: tuple[str, ...] = ()
    """Frame files relative to the image folder, ``length`` of them, or none."""
    annotated_frames: tuple[int, ...] | None = None
    """Frames that were labelled; in all others it is *unknown* what is there. None: every frame was labelled."""


@dataclass(frozen=True, slots=True)
class YtvisCategory:
    """One class."""

    id: int
    name: str
    supercategory: str | None = None


@dataclass(frozen=True, slots=True)
class YtvisAnnotation:
    """One labelled object over all frames of its video; lists have one entry per frame."""

    id: int
    video_id: int
    category_id: int
    segmentations: list[Rle | None]
    mask_areas: Pixels
    """Pixels inside each mask, counted; 0 where the object is absent."""
    iscrowd: bool = False
    areas: list[float | None] | None = None
    """Areas as the file states them; None if it states none."""
    bboxes: list[Box | None] | None = None
    """Boxes (x, y, width, height) in pixels as the file states them; None if it states none."""
    occlusion: list[str | None] | None = None
    """OVIS: one of ``OCCLUSION_LEVELS`` per frame."""
    annotated_frames: tuple[int, ...] | None = None
    """Frames in which this object was labelled; in all others it is *unknown*. None: as the video says."""


@dataclass(frozen=True, slots=True)
class YtvisResult:
    """One predicted track over all frames of its video."""

    video_id: int
    category_id: int
    score: float
    segmentations: list[Rle | None]
    mask_areas: Pixels
    """Pixels inside each mask; 0 where the track is absent."""
    track_id: int | None = None
    """Our own: the id that the track has in a run's pictures; unique within its video."""


@dataclass(frozen=True, slots=True)
class YtvisDataset:
    """A YouTube-VIS or OVIS ground truth."""

    videos: tuple[YtvisVideo, ...]
    categories: tuple[YtvisCategory, ...]
    annotations: tuple[YtvisAnnotation, ...]
    info: dict[str, Any] = field(default_factory=dict)
    licenses: tuple[Any, ...] = ()
    path: Path | None = None
    """Where it was read from; named in error messages."""


def annotation_from_masks(
    *,
    id: int,  # noqa: A002 - the name the format gives it
    video_id: int,
    category_id: int,
    segmentations: list[Rle | None],
    iscrowd: bool = False,
    annotated_frames: tuple[int, ...] | None = None,
) -> YtvisAnnotation:
    """An annotation whose areas and boxes are measured from its masks."""
    pixels = mask_areas(segmentations)
    return YtvisAnnotation(
        id=id,
        video_id=video_id,
        category_id=category_id,
        segmentations=segmentations,
        mask_areas=pixels,
        iscrowd=iscrowd,
        areas=[None if mask is None else float(area) for mask, area in zip(segmentations, pixels, strict=True)],
        bboxes=[None if mask is None else rle.bbox(mask) for mask in segmentations],
        annotated_frames=annotated_frames,
    )


def result_from_masks(*, video_id: int, category_id: int, score: float, segmentations: list[Rle | None]) -> YtvisResult:
    """A predicted track whose areas are measured from its masks."""
    return YtvisResult(video_id, category_id, score, segmentations, mask_areas(segmentations))


def mask_areas(segmentations: list[Rle | None]) -> Pixels:
    """Pixels inside each mask, int64 [T]; 0 where it is None."""
    return np.array([0 if mask is None else rle.area(mask) for mask in segmentations], dtype=np.int64)
