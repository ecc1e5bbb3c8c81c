"""Predicted tracks assigned to true tracks the greedy way of COCO, for every class, IoU threshold and range at once.

What the official YouTube-VIS evaluator does with ill-formed input is marked ``official_quirks``.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from fewmask.datasets.ytvis_types import OCCLUSION_LEVELS, YtvisAnnotation, YtvisDataset, YtvisResult
from fewmask.errors import DatasetError
from fewmask.metrics.annotated_frames import SomeFrames, annotated_part
from fewmask.metrics.precision_recall import (
    IOU_THRESHOLDS,
    Flags,
    Floats,
    PrecisionRecall,
    precision_recall,
)
from fewmask.metrics.track_overlap import track_ious

Integers = npt.NDArray[np.int64]

MAX_DETECTIONS = 100
"""Detections of one class in one video that are looked at: those with the highest scores."""
_OCCLUSION = dict(zip(OCCLUSION_LEVELS, (0.0, 0.25, 0.75), strict=True))
ALL_CLASSES = -1
"""The class of everything in class-agnostic evaluation."""


@dataclass(frozen=True, slots=True)
class TrackRange:
    """A part of the true tracks, by mean area or by occlusion; limits belong to it. Others count neither way."""

    name: str
    by: Literal["area", "occlusion"]
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Matches:
    """All detections, by class, then video, then falling score, and what became of them.

    N detections, R ranges, T thresholds.
    """

    ranges: tuple[TrackRange, ...]
    classes: tuple[int, ...]
    """Class ids of the ground truth, ascending; (``ALL_CLASSES``,) if class-agnostic."""
    class_ids: Integers
    """[N]."""
    video_ids: Integers
    """[N]."""
    ranks: Integers
    """[N], place among the detections of its class and video, from 0."""
    scores: Floats
    """[N]."""
    hits: Flags
    """[R, T, N]."""
    ignored: Flags
    """[R, T, N]."""
    positives: dict[tuple[int, int], Integers]
    """True tracks to be found [R], by (class id, video id)."""

    def curve(self, class_id: int, range_name: str = "all", max_detections: int = 100) -> PrecisionRecall | None:
        """Precision and recall of one class with the first ``max_detections`` of every video; None if undefined."""
        which = [track_range.name for track_range in self.ranges].index(range_name)
        start, stop = np.searchsorted(self.class_ids, [class_id, class_id + 1])
        chosen = start + np.flatnonzero(self.ranks[start:stop] < max_detections)
        positives = sum(int(count[which]) for (of, _), count in self.positives.items() if of == class_id)
        return precision_recall(
            self.scores[chosen], self.hits[which][:, chosen], self.ignored[which][:, chosen], positives
        )


def match_tracks(
    dataset: YtvisDataset,
    results: Sequence[YtvisResult],
    ranges: Sequence[TrackRange],
    *,
    class_agnostic: bool = False,
    official_quirks: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> Matches:
    """Assign results to annotations.

    Frames that the dataset says were not annotated count neither way.

    Args:
        dataset: the ground truth.
        results: predicted tracks; equal scores keep their order.
        ranges: the first is usually the one that holds everything.
        class_agnostic: put all tracks into one class; category ids of the results then mean nothing.
        official_quirks: drop results whose category id the ground truth does not have, count a match with annotation id
            0 as none, take frames that nobody annotated for empty, and refuse an empty result list.
        progress: called with (done, total) after every video.

    Raises:
        DatasetError: ``official_quirks`` and no result; a result of an unknown video or, unless ``class_agnostic``, of
            an unknown category; unless ``official_quirks``, a result that has not one mask per frame.
    """
    known = {category.id for category in dataset.categories}
    if official_quirks:
        if not results:
            raise DatasetError(
                "the result list is empty: the official evaluator fails here; without quirks it gives AP 0"
            )
        results = [result for result in results if result.category_id in known]
    else:
        _check(dataset, results, None if class_agnostic else known)
        dataset, results = annotated_part(dataset, results)
    class_ids = np.array([ALL_CLASSES if class_agnostic else r.category_id for r in results], dtype=np.int64)
    video_ids = np.array([result.video_id for result in results], dtype=np.int64)
    scores = np.array([result.score for result in results], dtype=np.float64)
    # Ties: list order; class-agnostic, category id first, as the official evaluator joins the lists of the classes.
    categories = np.array([result.category_id for result in results], dtype=np.int64)
    order = np.lexsort((categories, -scores, video_ids, class_ids))
    ranks = _ranks(class_ids[order], video_ids[order])
    order = order[ranks < MAX_DETECTIONS]
    ranks = ranks[ranks < MAX_DETECTIONS]
    class_ids, video_ids, scores = class_ids[order], video_ids[order], scores[order]
    sizes = np.array([mean_area(results[index].mask_areas) for index in order])

    truths: dict[tuple[int, int], list[YtvisAnnotation]] = defaultdict(list)
    for annotation in (
        sorted(dataset.annotations, key=lambda a: a.category_id) if class_agnostic else dataset.annotations
    ):
        truths[ALL_CLASSES if class_agnostic else annotation.category_id, annotation.video_id].append(annotation)
    groups_of: dict[int, list[int]] = defaultdict(list)
    for class_id, video_id in truths:
        groups_of[video_id].append(class_id)

    shape = (len(ranges), len(IOU_THRESHOLDS), len(order))
    hits, ignored = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    positives: dict[tuple[int, int], Integers] = {}
    bounds = _bounds(class_ids, video_ids)
    for done, video in enumerate(dataset.videos, start=1):
        for class_id in groups_of[video.id]:
            group = truths[class_id, video.id]
            outside = np.array([[not _inside(annotation, r) for annotation in group] for r in ranges])  # [R, G]
            positives[class_id, video.id] = (~outside).sum(axis=1)
            span = bounds.get((class_id, video.id))
            if span is not None:
                detections = [results[index] for index in order[span]]
                ious = _ious(detections, group)
                _match_group(
                    ious, group, outside, hits[:, :, span], ignored[:, :, span], official_quirks=official_quirks
                )
        if progress is not None:
            progress(done, len(dataset.videos))
    for index, track_range in enumerate(ranges):
        if track_range.by == "area":
            ignored[index] |= ~hits[index] & ((sizes < track_range.low) | (sizes > track_range.high))
    classes = (ALL_CLASSES,) if class_agnostic else tuple(sorted(known))
    return Matches(tuple(ranges), classes, class_ids, video_ids, ranks, scores, hits, ignored, positives)


def greedy_match(ious: Floats, ignored: Flags, crowd: Flags) -> Integers:
    """The true track each detection takes at each IoU threshold, int64 [T, D]; -1 for none.

    Detections choose in their order. Each takes the free true track of highest IoU, the last of equals, that reaches
    the threshold; only if there is none, an ignored one. Ignored crowds can be taken any number of times.

    Args:
        ious: [D, G].
        ignored: [G].
        crowd: [G].
    """
    taken_by = np.full((len(IOU_THRESHOLDS), len(ious)), -1, dtype=np.int64)
    rows, columns = np.nonzero(ious >= IOU_THRESHOLDS[0])
    choices: dict[int, list[tuple[bool, float, int]]] = defaultdict(list)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        choices[row].append((not ignored[column], float(ious[row, column]), column))
    # Best first: true before ignored, then higher IoU, then the later one.
    ordered = [(row, sorted(found, reverse=True)) for row, found in choices.items()]
    for index, threshold in enumerate(IOU_THRESHOLDS.tolist()):
        free = ~np.zeros(ious.shape[1], dtype=bool)
        for row, found in ordered:
            for _, iou, column in found:
                if iou >= threshold and (free[column] or crowd[column]):
                    taken_by[index, row] = column
                    free[column] = False
                    break
    return taken_by


def mean_area(areas: npt.NDArray[np.int64] | Floats) -> float:
    """Mean over the frames in which the object has an area; 0 if there is none."""
    count = np.count_nonzero(areas)
    return float(areas.sum() / count) if count else 0.0


def true_area(annotation: YtvisAnnotation) -> float:
    """Mean area of a true track: of the areas its file states, else of its masks."""
    if annotation.areas is None:
        return mean_area(annotation.mask_areas)
    return mean_area(np.array([area or 0.0 for area in annotation.areas]))


def occlusion_score(annotation: YtvisAnnotation) -> float:
    """How hidden an object is, in [0, 0.75]: mean of the more occluded half of its frames (OVIS).

    A frame counts 0, 0.25 or 0.75 for no, slight or severe occlusion.

    Raises:
        DatasetError: the annotation does not say.
    """
    if annotation.occlusion is None:
        raise DatasetError(
            f"annotation {annotation.id} has no 'occlusion'; occlusion levels need OVIS annotations, "
            "evaluate as YouTube-VIS instead"
        )
    frames = sorted((_OCCLUSION[level] for level in annotation.occlusion if level is not None), reverse=True)
    upper = frames[: (len(frames) + 1) // 2]
    return sum(upper) / len(upper) if upper else 0.0


def _ious(detections: Sequence[YtvisResult], group: Sequence[YtvisAnnotation]) -> Floats:
    """Track IoU [D, G]; pairs that cannot reach the lowest threshold may be 0."""
    least = float(IOU_THRESHOLDS[0])
    length = len(group[0].segmentations)
    if any(annotation.annotated_frames is not None for annotation in group):
        columns = [_annotated_ious(detections, annotation) for annotation in group]
        return np.concatenate(columns, axis=1)
    if all(len(detection.segmentations) == length for detection in detections):
        return track_ious(detections, group, at_least=least)
    # Official quirk: frames for which a detection has no entry do not count, whatever the ground truth holds there.
    rows = []
    for detection in detections:
        frames = len(detection.segmentations)
        cut = [SomeFrames.of(truth, range(frames)) for truth in group]
        rows.append(track_ious([detection], cut, at_least=least))
    return np.concatenate(rows)


def _annotated_ious(detections: Sequence[YtvisResult], annotation: YtvisAnnotation) -> Floats:
    """IoU over the frames in which an object was annotated [D, 1]."""
    frames = annotation.annotated_frames
    if frames is None:
        return track_ious(detections, [annotation])
    cut = [SomeFrames.of(detection, frames) for detection in detections]
    return track_ious(cut, [SomeFrames.of(annotation, frames)])


def _inside(annotation: YtvisAnnotation, track_range: TrackRange) -> bool:
    """Whether a true track is to be found in this range."""
    if annotation.iscrowd:
        return False
    value = true_area(annotation) if track_range.by == "area" else occlusion_score(annotation)
    return track_range.low <= value <= track_range.high


def _match_group(
    ious: Floats,
    group: Sequence[YtvisAnnotation],
    outside: Flags,
    hits: Flags,
    ignored: Flags,
    *,
    official_quirks: bool,
) -> None:
    """Match the detections of one class and video in every range and write what became of them.

    ``outside`` is [R, G]; ``hits`` and ``ignored`` are [R, T, D] and written in place.
    """
    crowd = np.array([annotation.iscrowd for annotation in group])
    ids = np.array([annotation.id for annotation in group])
    done: dict[bytes, Integers] = {}
    for index, ignore in enumerate(outside):
        key = ignore.tobytes()
        if key not in done:
            done[key] = greedy_match(ious, ignore, crowd)
        taken = done[key]
        held = taken >= 0
        ignored[index] = held & ignore[taken]
        hits[index] = held & (ids[taken] != 0) if official_quirks else held


def _ranks(class_ids: Integers, video_ids: Integers) -> Integers:
    """Place of each entry within its run of equal (class, video)."""
    index = np.arange(len(class_ids))
    first = np.ones(len(class_ids), dtype=bool)
    first[1:] = (np.diff(class_ids) != 0) | (np.diff(video_ids) != 0)
    return np.asarray(index - np.maximum.accumulate(np.where(first, index, 0)))


def _bounds(class_ids: Integers, video_ids: Integers) -> dict[tuple[int, int], slice]:
    """Where the detections of each (class, video) stand."""
    edges = [*np.flatnonzero(_ranks(class_ids, video_ids) == 0).tolist(), len(class_ids)]
    return {(int(class_ids[start]), int(video_ids[start])): slice(start, stop) for start, stop in pairwise(edges)}


def _check(dataset: YtvisDataset, results: Sequence[YtvisResult], categories: set[int] | None) -> None:
    lengths = {video.id: video.length for video in dataset.videos}
    for index, result in enumerate(results):
        if lengths.get(result.video_id) != len(result.segmentations):
            if result.video_id not in lengths:
                raise DatasetError(f"result {index}: video {result.video_id} is not in the ground truth")
            raise DatasetError(
                f"result {index}: {len(result.segmentations)} masks for the {lengths[result.video_id]} frames of "
                f"video {result.video_id}; give None where the object is absent"
            )
        if categories is not None and result.category_id not in categories:
            raise DatasetError(
                f"result {index}: category {result.category_id} is not in the ground truth; "
                "map the classes, or evaluate class-agnostic"
            )
