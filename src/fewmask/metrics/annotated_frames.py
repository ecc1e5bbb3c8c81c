"""Evaluation where some frames were never annotated: what lies there is unknown and counts neither way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from fewmask.datasets.ytvis_types import Pixels, YtvisAnnotation, YtvisDataset, YtvisResult, YtvisVideo
from fewmask.media.rle import Rle
from fewmask.metrics.track_overlap import Track

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class SomeFrames:
    """A track cut to some of its frames."""

    segmentations: list[Rle | None]
    mask_areas: Pixels

    @classmethod
    def of(cls, track: Track, frames: Iterable[int]) -> "SomeFrames":
        """``track`` in ``frames`` only."""
        chosen = list(frames)
        return cls([track.segmentations[frame] for frame in chosen], track.mask_areas[chosen])


def annotated_part(dataset: YtvisDataset, results: Sequence[YtvisResult]) -> tuple[YtvisDataset, Sequence[YtvisResult]]:
    """Dataset and results without the frames that the videos leave unknown.

    Results with pixels in unknown frames only are left out: nobody knows whether they are right.
    """
    frames_of = {video.id: video.annotated_frames for video in dataset.videos if video.annotated_frames is not None}
    if not frames_of:
        return dataset, results
    cut_results = []
    for result in results:
        frames = frames_of.get(result.video_id)
        if frames is None:
            cut_results.append(result)
            continue
        cut = SomeFrames.of(result, frames)
        if cut.mask_areas.any() or not result.mask_areas.any():
            cut_results.append(replace(result, segmentations=cut.segmentations, mask_areas=cut.mask_areas))
    return (
        replace(
            dataset,
            videos=tuple(_cut_video(video) for video in dataset.videos),
            annotations=tuple(_cut_annotation(a, frames_of.get(a.video_id)) for a in dataset.annotations),
        ),
        cut_results,
    )


def _cut_video(video: YtvisVideo) -> YtvisVideo:
    if video.annotated_frames is None:
        return video
    return replace(video, length=len(video.annotated_frames), file_names=(), annotated_frames=None)


def _cut_annotation(annotation: YtvisAnnotation, frames: tuple[int, ...] | None) -> YtvisAnnotation:
    if frames is None:
        return annotation
    cut = SomeFrames.of(annotation, frames)
    own = annotation.annotated_frames
    return replace(
        annotation,
        segmentations=cut.segmentations,
        mask_areas=cut.mask_areas,
        areas=_at(annotation.areas, frames),
        bboxes=_at(annotation.bboxes, frames),
        occlusion=_at(annotation.occlusion, frames),
        annotated_frames=None if own is None else tuple(i for i, frame in enumerate(frames) if frame in own),
    )


def _at(values: list[Entry] | None, frames: tuple[int, ...]) -> list[Entry] | None:
    return None if values is None else [values[frame] for frame in frames]
