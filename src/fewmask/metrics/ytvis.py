"""YouTube-VIS: average precision and recall of tracks, the twelve figures, per class, and per video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fewmask.datasets.ytvis_types import YtvisDataset, YtvisResult
from fewmask.metrics.precision_recall import IOU_THRESHOLDS, PrecisionRecall
from fewmask.metrics.track_matching import ALL_CLASSES, Matches, TrackRange, match_tracks

AREAS = (
    TrackRange("all", "area", 0.0, 1e10),
    TrackRange("small", "area", 0.0, 128.0**2),
    TrackRange("medium", "area", 128.0**2, 256.0**2),
    TrackRange("large", "area", 256.0**2, 1e10),
)
"""Ranges of the mean area in pixels; not COCO's."""

Figure = float | None
"""A value in [0, 1], or None where nothing is defined (no true track of the class or range)."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class, all areas, up to 100 detections a video."""

    AP: Figure
    AP50: Figure
    AR100: Figure


@dataclass(frozen=True, slots=True)
class VideoScores:
    """One video by itself, all classes, all areas."""

    video_id: int
    AR: Figure
    """Share of the true tracks that are found, mean over the IoU thresholds; None if there is no true track."""
    tracks: int
    """True tracks."""
    false_positives: int
    """Detections that hold nothing at IoU 0.5."""


@dataclass(frozen=True, slots=True)
class YtvisScores:
    """What an evaluation gives."""

    stats: dict[str, Figure]
    """AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl."""
    per_category: dict[str, ClassScores]
    """By category id as text; "all" if class-agnostic."""
    per_video: tuple[VideoScores, ...]
    curves: dict[str, PrecisionRecall]
    """Precision over recall of the classes for which it is defined."""


def evaluate_ytvis(
    dataset: YtvisDataset,
    results: Sequence[YtvisResult],
    *,
    class_agnostic: bool = False,
    official_quirks: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> YtvisScores:
    """Average precision and recall as the YouTube-VIS evaluator defines them (IoU 0.5 to 0.95, 101 recall values).

    Args:
        dataset: the ground truth.
        results: predicted tracks.
        class_agnostic: one class; category ids of the results mean nothing.
        official_quirks: as `match_tracks`.
        progress: called with (done, total) after every video.

    Raises:
        DatasetError: as `match_tracks`.
    """
    matches = match_tracks(
        dataset, results, AREAS, class_agnostic=class_agnostic, official_quirks=official_quirks, progress=progress
    )
    return YtvisScores(
        ytvis_figures(matches), class_scores(matches), video_scores(matches, dataset), class_curves(matches)
    )


def ytvis_figures(matches: Matches) -> dict[str, Figure]:
    """The twelve figures, in the order in which the official evaluator prints them."""
    over = {name: defined_curves(matches, name, 100) for name in ("all", "small", "medium", "large")}
    half, three_quarters = IOU_THRESHOLDS.tolist().index(0.5), int(np.argmin(np.abs(IOU_THRESHOLDS - 0.75)))
    return {
        "AP": mean_precision(over["all"]),
        "AP50": mean_precision(over["all"], half),
        "AP75": mean_precision(over["all"], three_quarters),
        "APs": mean_precision(over["small"]),
        "APm": mean_precision(over["medium"]),
        "APl": mean_precision(over["large"]),
        "AR1": mean_recall(defined_curves(matches, "all", 1)),
        "AR10": mean_recall(defined_curves(matches, "all", 10)),
        "AR100": mean_recall(over["all"]),
        "ARs": mean_recall(over["small"]),
        "ARm": mean_recall(over["medium"]),
        "ARl": mean_recall(over["large"]),
    }


def class_scores(matches: Matches) -> dict[str, ClassScores]:
    """AP, AP50 and AR100 of every class of the ground truth."""
    found = {}
    for class_id in matches.classes:
        curve = matches.curve(class_id)
        curves = [] if curve is None else [curve]
        found[_label(class_id)] = ClassScores(mean_precision(curves), mean_precision(curves, 0), mean_recall(curves))
    return found


def video_scores(matches: Matches, dataset: YtvisDataset) -> tuple[VideoScores, ...]:
    """How much of each video was found."""
    truths: dict[int, int] = {}
    for (_, video_id), count in matches.positives.items():
        truths[video_id] = truths.get(video_id, 0) + int(count[0])
    counted = matches.hits[0] & ~matches.ignored[0]
    wrong = ~matches.hits[0][0] & ~matches.ignored[0][0]
    scores = []
    order = np.argsort(matches.video_ids, kind="stable")
    videos = matches.video_ids[order]
    for video in dataset.videos:
        start, stop = np.searchsorted(videos, [video.id, video.id + 1])
        here = order[start:stop]
        tracks = truths.get(video.id, 0)
        recall = float(counted[:, here].sum(axis=1).mean() / tracks) if tracks else None
        scores.append(VideoScores(video.id, recall, tracks, int(wrong[here].sum())))
    return tuple(scores)


def mean_precision(curves: Sequence[PrecisionRecall], threshold: int | None = None) -> Figure:
    """AP over classes, at one IoU threshold (by its index) or over all of them."""
    if not curves:
        return None
    values = np.stack([curve.average_precision for curve in curves])  # [classes, thresholds]
    return float(values.mean() if threshold is None else values[:, threshold].mean())


def mean_recall(curves: Sequence[PrecisionRecall]) -> Figure:
    """AR over classes and IoU thresholds."""
    return float(np.stack([curve.recall for curve in curves]).mean()) if curves else None


def defined_curves(matches: Matches, range_name: str, max_detections: int) -> list[PrecisionRecall]:
    """The curves of the classes for which they are defined."""
    curves = [matches.curve(class_id, range_name, max_detections) for class_id in matches.classes]
    return [curve for curve in curves if curve is not None]


def class_curves(matches: Matches) -> dict[str, PrecisionRecall]:
    """Precision over recall of every class for which it is defined."""
    found = {_label(class_id): matches.curve(class_id) for class_id in matches.classes}
    return {label: curve for label, curve in found.items() if curve is not None}


def _label(class_id: int) -> str:
    return "all" if class_id == ALL_CLASSES else str(class_id)
