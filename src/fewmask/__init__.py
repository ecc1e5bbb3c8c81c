"""Segment and track objects in video from few masks, or none. Names are imported when first used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewmask.errors import CheckpointError, ConfigError, DatasetError, FewmaskError, VideoError
    from fewmask.exports.video_result import VideoResult
    from fewmask.media.frames import Frame, FrameSource, open_frames
    from fewmask.media.results import FrameResult, Track
    from fewmask.minvis.stream import MinVIS
    from fewmask.retrieval.index import ClipIndex
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
    "ClipIndex": "retrieval.index",
}

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
    "Track",
    "VideoError",
    "VideoResult",
    "open_frames",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
