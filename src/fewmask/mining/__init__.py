"""Mining: unlabelled videos in, a pseudo-labelled dataset out (Bayesian mask selection)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewmask.mining.combinations import best_combinations
    from fewmask.mining.path import best_path

__all__ = ["best_combinations", "best_path"]

_HOMES = {"best_combinations": "combinations", "best_path": "path"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
