"""Video AP at IoU 0.5, as Self-Shot reports it: per query class and averaged, and with all classes pooled into one.

The paper does not say which of the two it means, nor how precision is interpolated; both are given, with the
YouTube-VIS rules for matching and interpolation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fewmask.datasets.ytvis_types import YtvisDataset, YtvisResult
from fewmask.metrics.ytvis import evaluate_ytvis

Figure = float | None


@dataclass(frozen=True, slots=True)
class VideoAP:
    """AP at track IoU 0.5, in [0, 1]; None where there is no true track."""

    mean: Figure
    """Mean over the classes."""
    per_class: dict[str, Figure]
    """By category id as text."""
    pooled: Figure
    """All classes as one."""


def video_ap(dataset: YtvisDataset, results: Sequence[YtvisResult]) -> VideoAP:
    """Video AP at IoU 0.5.

    Raises:
        DatasetError: a result of an unknown video or category.
    """
    by_class = evaluate_ytvis(dataset, results)
    pooled = evaluate_ytvis(dataset, results, class_agnostic=True)
    return VideoAP(
        by_class.stats["AP50"],
        {label: scores.AP50 for label, scores in by_class.per_category.items()},
        pooled.stats["AP50"],
    )
