"""Segment and track objects in video from few masks, or none. Names are imported when first used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewmask.datasets.synth import synthesise as synth
    from fewmask.errors import CheckpointError, ConfigError, DatasetError, FewmaskError, VideoError
    from fewmask.exports.video_result import VideoResult
    from fewmask.media.frames import Frame, FrameSource, open_frames
    from fewmask.media.results import FrameResult, Track
    from fewmask.metrics.coco import evaluate_coco
    from fewmask.metrics.davis import evaluate_davis
    from fewmask.metrics.fsvos import aggregate_fsvos, score_fsvos_video
    from fewmask.metrics.video_consistency import vc_tti, vc_vipmt, vc_vspw
    from fewmask.metrics.ytvis import evaluate_ytvis
    from fewmask.mining.mine_videos import mine
    from fewmask.minvis.stream import MinVIS
    from fewmask.minvis.stream_settings import StreamSettings
    from fewmask.retrieval.index import ClipIndex
    from fewmask.selfshot.segment import SelfShot
    from fewmask.vipmt.model import VIPMT

__version__ = "0.1.0"

_HOMES = {
    "FewmaskError": "errors",
    "VideoError": "errors",
    "DatasetError": "errors",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "Frame": "media.frames",
    "FrameSource": "media.frames",
    "open_frames": "media.frames",
    "FrameResult": "media.results",
    "Track": "media.results",
    "VideoResult": "exports.video_result",
    "MinVIS": "minvis.stream",
    "VIPMT": "vipmt.model",
    "StreamSettings": "minvis.stream_settings",
    "SelfShot": "selfshot.segment",
    "ClipIndex": "retrieval.index",
    "mine": "mining.mine_videos",
    "synth": "datasets.synth",
    "evaluate_coco": "metrics.coco",
    "evaluate_davis": "metrics.davis",
    "evaluate_ytvis": "metrics.ytvis",
    "score_fsvos_video": "metrics.fsvos",
    "aggregate_fsvos": "metrics.fsvos",
    "vc_tti": "metrics.video_consistency",
    "vc_vipmt": "metrics.video_consistency",
    "vc_vspw": "metrics.video_consistency",
}
_CALLED = {"synth": "synthesise"}
"""Where a name is another one at home."""

__all__ = [
    "VIPMT",
    "CheckpointError",
    "ClipIndex",
    "ConfigError",
    "DatasetError",
    "FewmaskError",
    "Frame",
    "FrameResult",
    "FrameSource",
    "MinVIS",
    "SelfShot",
    "StreamSettings",
    "Track",
    "VideoError",
    "VideoResult",
    "aggregate_fsvos",
    "evaluate_coco",
    "evaluate_davis",
    "evaluate_ytvis",
    "mine",
    "open_frames",
    "score_fsvos_video",
    "synth",
    "vc_tti",
    "vc_vipmt",
    "vc_vspw",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), _CALLED.get(name, name))
