"""The pool: unlabelled videos as clips and vectors, among which a query finds its relatives."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewmask.retrieval.index import ClipIndex
    from fewmask.retrieval.losses import instance_nce_loss, mil_nce_loss, rank_loss

__all__ = ["ClipIndex", "instance_nce_loss", "mil_nce_loss", "rank_loss"]

_HOMES = {
    "ClipIndex": "index",
    "instance_nce_loss": "losses",
    "mil_nce_loss": "losses",
    "rank_loss": "losses",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
