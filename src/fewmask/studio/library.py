"""What was opened: runs, mined datasets, pools and videos, each under an id that says nothing of its path."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fewmask.corrections.corrected_run import is_run
from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.file_kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_litter
from fewmask.media.given_path import expanded

Kind = Literal["run", "dataset", "pool", "video"]
_DEPTH = 3  # folders below an opened one that are looked into
_MOST = 5000  # things found in one folder


class NotOpenedError(FewmaskError):
    """An id or a path that is not among what was opened."""


@dataclass(frozen=True)
class Thing:
    """Something that was opened, or found in an opened folder.

    Attributes:
        id: for addresses.
        kind: what it is.
        path: where, with links resolved.
        title: for people.
    """

    id: str
    kind: Kind
    path: Path
    title: str


class Library:
    """Everything that the studio may show; what is not in it cannot be reached."""

    def __init__(self) -> None:
        self._things: dict[str, Thing] = {}
        self._lock = threading.Lock()

    def open(self, path: str | Path) -> list[Thing]:
        """Take up a run, a mined dataset, a pool, a video, or a folder with any of them in it.

        Raises:
            ConfigError: there is nothing, or nothing of these.
        """
        place = expanded(path)
        if not place.exists():
            raise ConfigError(f"{path}: no such file or folder; check the path")
        found = list(_things_in(place.resolve(), _DEPTH))[:_MOST]
        if not found and not place.is_dir():
            raise ConfigError(f"{path}: neither a run, a mined dataset, an index nor a video")
        return [self.add(kind, where) for kind, where in found]

    def add(self, kind: Kind, path: Path) -> Thing:
        """Take up one thing whose kind is known; a second time gives the same."""
        place = expanded(path).resolve()
        identity = f"{kind[0]}{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}"
        with self._lock:
            if identity not in self._things:
                self._things[identity] = Thing(identity, kind, place, _title(kind, place))
            return self._things[identity]

    def get(self, identity: str, kind: Kind) -> Thing:
        """The thing with an id.

        Raises:
            NotOpenedError: there is none of that kind.
        """
        thing = self._things.get(identity)
        if thing is None or thing.kind != kind:
            raise NotOpenedError(f"{kind} {identity[:20]!r} is not open; open its folder with `fewmask studio`")
        return thing

    def all(self) -> list[Thing]:
        """Everything, in the order of opening."""
        with self._lock:
            return list(self._things.values())


def inside(folder: Path, name: str) -> Path:
    """The file ``name`` of a folder, with links resolved.

    Raises:
        NotOpenedError: it lies outside the folder, or is not there.
    """
    try:
        path = (folder / name).resolve()
        there = path.is_file() and path.is_relative_to(folder.resolve())
    except (OSError, ValueError):
        there = False
    if not there:
        raise NotOpenedError(f"{name[:200]!r}: no such file in the opened folder")
    return path


def _things_in(place: Path, depth: int) -> Iterator[tuple[Kind, Path]]:
    kind = _kind_of(place)
    if kind is not None:
        yield kind, place
    if kind in ("video", "dataset", "pool", "run") or not place.is_dir() or depth == 0:
        return
    try:
        entries = sorted(place.iterdir(), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if not is_litter(entry.name) and not (entry.is_symlink() and not entry.resolve().is_relative_to(place)):
            yield from _things_in(entry, depth - 1)


def _kind_of(place: Path) -> Kind | None:
    if place.is_file():
        return "video" if place.suffix.lower() in VIDEO_SUFFIXES else None
    if not place.is_dir():
        return None
    if is_run(place):
        return "run"
    if (place / "instances.json").is_file() and (place / "results").is_dir():
        return "dataset"
    if _is_pool(place):
        return "pool"
    try:
        names = [entry.name for entry in place.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES]
        pictures = sum(not is_litter(name) for name in names)
    except OSError:
        return None
    return "video" if pictures > 1 else None


def _is_pool(place: Path) -> bool:
    return (place / "videos.json").is_file() or any(place.glob("pool.*"))


def _title(kind: Kind, place: Path) -> str:
    if kind in ("run", "dataset") and place.name in ("run", "out", "results"):
        return f"{place.parent.name}/{place.name}"
    return place.name


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run or dataset; empty where it cannot be read."""
    return object_or_empty(folder / "manifest.json")


def object_or_empty(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where it cannot be read: what is damaged is passed over, not the page."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
