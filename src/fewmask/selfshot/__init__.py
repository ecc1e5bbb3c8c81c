"""Self-Shot: query and supports are segmented together; supports come from a pool (`fewmask.retrieval`)."""

from importlib import import_module
from typing import Any

_MOVED = {
    "ClipIndex": "fewmask.retrieval.index",
    "instance_nce_loss": "fewmask.retrieval.losses",
    "mil_nce_loss": "fewmask.retrieval.losses",
    "rank_loss": "fewmask.retrieval.losses",
}
"""Names that lived here before the pool had a room of its own; nothing in the package asks for them here."""


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MOVED[name]), name)
