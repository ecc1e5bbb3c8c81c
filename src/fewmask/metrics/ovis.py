"""OVIS: the YouTube-VIS figures, and average precision and recall by how occluded the objects are."""

from collections.abc import Callable, Sequence

from fewmask.datasets.ytvis_types import YtvisDataset, YtvisResult
from fewmask.metrics.track_matching import TrackRange, match_tracks
from fewmask.metrics.ytvis import (
    AREAS,
    YtvisScores,
    class_curves,
    class_scores,
    defined_curves,
    mean_precision,
    mean_recall,
    video_scores,
    ytvis_figures,
)

OCCLUSIONS = (
    TrackRange("light", "occlusion", 0.0, 0.25),
    TrackRange("medium_occlusion", "occlusion", 0.25, 0.5),
    TrackRange("heavy", "occlusion", 0.5, 1.0),
)
"""Ranges of the occlusion score; objects outside a range count neither way, detections always count."""


def evaluate_ovis(
    dataset: YtvisDataset,
    results: Sequence[YtvisResult],
    *,
    class_agnostic: bool = False,
    official_quirks: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> YtvisScores:
    """As `evaluate_ytvis`, with AP_light, AP_medium, AP_heavy and AR_light, AR_medium, AR_heavy among the figures.

    Raises:
        DatasetError: as `match_tracks`; an annotation without occlusion levels.
    """
    matches = match_tracks(
        dataset,
        results,
        AREAS + OCCLUSIONS,
        class_agnostic=class_agnostic,
        official_quirks=official_quirks,
        progress=progress,
    )
    levels = {level.name.removesuffix("_occlusion"): defined_curves(matches, level.name, 100) for level in OCCLUSIONS}
    figures = ytvis_figures(matches)
    figures |= {f"AP_{name}": mean_precision(curves) for name, curves in levels.items()}
    figures |= {f"AR_{name}": mean_recall(curves) for name, curves in levels.items()}
    return YtvisScores(figures, class_scores(matches), video_scores(matches, dataset), class_curves(matches))
