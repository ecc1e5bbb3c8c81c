"""Published metrics, one file each; the names below are imported when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewmask.metrics.coco import evaluate_coco
    from fewmask.metrics.contour import contour_accuracy
    from fewmask.metrics.davis import davis_figures, evaluate_davis
    from fewmask.metrics.davis_unsupervised import assign_proposals
    from fewmask.metrics.fsvos import aggregate_fsvos, score_fsvos_video
    from fewmask.metrics.identities import evaluate_identities, identity_switches
    from fewmask.metrics.mean_recall_decay import frame_statistics
    from fewmask.metrics.ovis import evaluate_ovis
    from fewmask.metrics.region import region_similarity
    from fewmask.metrics.track_overlap import track_iou, track_ious
    from fewmask.metrics.video_consistency import vc_tti, vc_vipmt, vc_vspw
    from fewmask.metrics.video_precision import video_ap
    from fewmask.metrics.ytvis import evaluate_ytvis

_FILES = {
    "aggregate_fsvos": "fsvos",
    "assign_proposals": "davis_unsupervised",
    "contour_accuracy": "contour",
    "davis_figures": "davis",
    "evaluate_coco": "coco",
    "evaluate_davis": "davis",
    "evaluate_identities": "identities",
    "evaluate_ovis": "ovis",
    "evaluate_ytvis": "ytvis",
    "frame_statistics": "mean_recall_decay",
    "identity_switches": "identities",
    "region_similarity": "region",
    "score_fsvos_video": "fsvos",
    "track_iou": "track_overlap",
    "track_ious": "track_overlap",
    "vc_tti": "video_consistency",
    "vc_vipmt": "video_consistency",
    "vc_vspw": "video_consistency",
    "video_ap": "video_precision",
}

__all__ = [
    "aggregate_fsvos",
    "assign_proposals",
    "contour_accuracy",
    "davis_figures",
    "evaluate_coco",
    "evaluate_davis",
    "evaluate_identities",
    "evaluate_ovis",
    "evaluate_ytvis",
    "frame_statistics",
    "identity_switches",
    "region_similarity",
    "score_fsvos_video",
    "track_iou",
    "track_ious",
    "vc_tti",
    "vc_vipmt",
    "vc_vspw",
    "video_ap",
]


def __getattr__(name: str) -> Any:
    """Import a public name's file when the name is first used."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    globals()[name] = value
    return value
