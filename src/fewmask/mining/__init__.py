"""Mining: unlabelled videos in, a pseudo-labelled dataset out (Bayesian mask selection)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewmask.mining.background_net import BackgroundNet
    from fewmask.mining.combinations import best_combinations
    from fewmask.mining.mine_videos import apply_review, mine
    from fewmask.mining.path import best_path
    from fewmask.mining.settings import MiningSettings

__all__ = ["BackgroundNet", "MiningSettings", "apply_review", "best_combinations", "best_path", "mine"]

_HOMES = {
    "BackgroundNet": "background_net",
    "MiningSettings": "settings",
    "apply_review": "mine_videos",
    "best_combinations": "combinations",
    "best_path": "path",
    "mine": "mine_videos",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
