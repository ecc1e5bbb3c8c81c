"""Weights as an input of a run: what they hold, whether a path, bundled, or of the hub."""

from pathlib import Path
from typing import Any

from fewmask.media.given_path import expanded


def weights_input(weights: str | Path | None, bundled: Path | None = None) -> Any:
    """What `fewmask.media.identity` makes an identity of; equal only for equal weights.

    Args:
        weights: a path, the name of bundled weights, a name on the hub, or None for ``bundled`` itself.
        bundled: the folder of all bundled weights of the room, or a file of its own.
    """
    if weights is None:
        return bundled
    path = expanded(weights)
    if path.exists():
        return path
    if bundled is not None and (bundled / str(weights)).exists():
        return bundled / str(weights)
    return {"name": str(weights), "revision": _revision(str(weights))}


def _revision(name: str) -> str | None:
    """The commit on the hub that transformers loads, from its cache; None leaves it to loading to say what is wrong."""
    from transformers.utils import cached_file

    try:
        found = cached_file(name, "config.json")
    except (OSError, ValueError):
        return None
    parts = Path(str(found)).parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None
