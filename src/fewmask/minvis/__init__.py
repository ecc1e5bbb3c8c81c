"""MinVIS: an image segmenter trained on sparse frames, its queries linked over time."""

from typing import Any

_HOMES = {
    "match_queries": "matching",
    "link_video": "link",
    "LinkedVideo": "link",
    "QueryTracker": "tracker",
    "MinVIS": "stream",
    "QuerySegmenter": "segmenter",
    "SegmenterOutput": "segmenter",
    "Mask2FormerSegmenter": "mask2former",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
