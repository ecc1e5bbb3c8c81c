"""Self-Shot: support clips are found among unlabelled videos, then query and supports are segmented together."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewmask.selfshot.index import ClipIndex
    from fewmask.selfshot.retrieval_losses import instance_nce_loss, mil_nce_loss, rank_loss

__all__ = ["ClipIndex", "instance_nce_loss", "mil_nce_loss", "rank_loss"]

_HOMES = {
    "ClipIndex": "index",
    "instance_nce_loss": "retrieval_losses",
    "mil_nce_loss": "retrieval_losses",
    "rank_loss": "retrieval_losses",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
