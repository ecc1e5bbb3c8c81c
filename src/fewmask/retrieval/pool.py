"""Filling a clip index from videos: each is cut, embedded and entered once; what cannot be read is listed and skipped.

Beside the index's own files the folder holds ``videos.json``: what each video was when it was embedded, so that a later
run takes up only what is new or changed. It is written after vectors enter and before those of a removed video leave,
so a run that dies between the two embeds those videos again, under the same ids.
"""

import base64
import json
import time
from collections.abc import Callable, Generator, Iterable, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.atomic import write_json
from fewmask.media.clip_place import ClipPlace
from fewmask.retrieval.clips import SECONDS
from fewmask.retrieval.embedded_video import EmbeddedVideo, embed_here
from fewmask.retrieval.exact_scan import Vectors
from fewmask.retrieval.fixed_features import ClipEmbedder
from fewmask.retrieval.index import ClipIndex
from fewmask.retrieval.looks import Look, same_clip

VIDEOS_FILE = "videos.json"
_SAVE_EVERY_S = 10.0
_NEVER = -1


@dataclass(frozen=True)
class VideoRecord:
    """What became of one video.

    Attributes:
        size: bytes of the file, 0 for a folder of frames.
        changed_ns: its modification time.
        looks: the clips entered, "first-last" -> what the clip looks like (base64).
        copies: clips left out because the pool has nearly the same one.
        copied: the videos that have them.
        problem: why the video, or its rest, was skipped; None if nothing was.
    """

    size: int
    changed_ns: int
    looks: dict[str, str]
    copies: int
    problem: str | None = None
    copied: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """After one video: its name, what became of it, and how many of how many are done."""

    video: str
    record: VideoRecord
    done: int
    total: int


class Pool:
    """A clip index made from videos, and the list of those videos."""

    def __init__(self, index: ClipIndex, videos: dict[str, VideoRecord]) -> None:
        """Use ``open``."""
        self.index = index
        self.videos = videos

    @classmethod
    def open(cls, folder: str | Path) -> "Pool":
        """The pool in ``folder``; a missing or empty folder is a pool without videos.

        Raises:
            FewmaskError: the folder holds something else, or a file is damaged.
        """
        index = ClipIndex.open(folder)
        path = index.folder / VIDEOS_FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            videos = {name: VideoRecord(**record) for name, record in raw.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise FewmaskError(f"{path}: damaged ({error}); delete it and index the videos again") from error
        return cls(index, videos)

    def add(
        self,
        videos: Sequence[Path],
        embedder: ClipEmbedder,
        *,
        seconds: float = SECONDS,
        embed: Callable[[Sequence[Path]], Iterable[EmbeddedVideo]] | None = None,
        report: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Embed the videos that are new or have changed; corrupt and empty ones are recorded and skipped.

        What was done is on disk every few seconds; a killed run goes on where it stopped.

        Args:
            videos: files, or folders of frames, as ``find_videos`` lists them.
            embedder: the same for the whole life of a pool.
            seconds: longest clip.
            embed: embeds the videos it is given, in order; by default one after another by ``embedder``.
            report: called after each video, also those that needed nothing.

        Raises:
            ConfigError: the pool was made with another embedder.
            FewmaskError: the pool cannot be written.
        """
        self._claim(embedder)
        facts = {path: _facts(path) for path in videos}
        entered = _ids_by_video(self.index)
        outdated = {name for name, *now in facts.values() if name in entered and not self._knows(name, *now)}
        self._forget_copies_of(outdated)
        changed = [path for path, (name, *now) in facts.items() if not self._knows(name, *now)]
        new = set(changed)
        known = [path for path in facts if path not in new]
        for done, path in enumerate(known, 1):
            report(Progress(facts[path][0], self.videos[facts[path][0]], done, len(facts)))
        # Clips that are about to leave are no reason to leave out another.
        pending, saved = _Pending({facts[path][0] for path in changed} & entered.keys()), time.monotonic()
        fresh = iter(embed(changed) if embed else embed_here(changed, lambda: embedder, seconds))
        try:
            for done, video in enumerate(fresh, len(known) + 1):
                name, *now = facts[video.path]
                record = self._enter(video, name, (now[0], now[1]), pending)
                pending.leaving += entered.get(name, [])
                pending.records[name] = record
                report(Progress(name, record, done, len(facts)))
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    self._save(pending)
                    pending, saved = _Pending(pending.outdated - pending.records.keys()), time.monotonic()
        finally:
            self._save(pending)
            if isinstance(fresh, Generator):
                fresh.close()  # so that its workers do not outlive an error
        self.index.compact()

    def remove(self, videos: Iterable[Path]) -> int:
        """Take videos and their clips out; returns how many were there."""
        entered = _ids_by_video(self.index)
        names = {_name(path) for path in videos} & (self.videos.keys() | entered.keys())
        if names:
            self._forget_copies_of(names)
            self.videos = {name: record for name, record in self.videos.items() if name not in names}
            self._write_videos()  # first: clips without a record are taken out or made good by the next run
            self.index.remove([clip_id for name in names for clip_id in entered.get(name, [])])
            self.index.compact()
        return len(names)

    def within(self, sources: Iterable[Path]) -> list[Path]:
        """Videos of the pool that are one of these, or lie in or below one of these folders.

        Raises:
            FewmaskError: there are none of some source.
        """
        names = [*self.videos, *_ids_by_video(self.index)]
        found: dict[str, None] = {}
        for source in sources:
            place = Path(_name(source))
            matching = [name for name in names if Path(name) == place or place in Path(name).parents]
            if not matching:
                raise FewmaskError(f"{source}: neither a video of {self.index.folder} nor a folder of some")
            found |= dict.fromkeys(matching)
        return [Path(name) for name in found]

    def missing(self) -> list[Path]:
        """Videos of the pool that are no longer on disk."""
        names = dict.fromkeys([*self.videos, *_ids_by_video(self.index)])
        return [Path(name) for name in names if not Path(name).exists()]

    def _forget_copies_of(self, names: Set[str]) -> None:
        """See to it that videos of which clips were left out, as copies of clips that leave, are embedded again."""
        for name, record in self.videos.items():
            if not names.isdisjoint(record.copied):
                self.videos[name] = replace(record, changed_ns=_NEVER)

    def _claim(self, embedder: ClipEmbedder) -> None:
        """Make sure that all vectors of the pool come from one embedder."""
        if self.index.dimension is None:
            self.index = ClipIndex.create(self.index.folder, embedder.dimension, about={"embedder": embedder.name})
        made_with = self.index.about.get("embedder", "unknown")
        if made_with != embedder.name:
            raise ConfigError(
                f"{self.index.folder}: made with the embedder {made_with}, not {embedder.name}; "
                "use that one, or index into another folder"
            )

    def _knows(self, name: str, size: int, changed_ns: int) -> bool:
        known = self.videos.get(name)
        return known is not None and (known.size, known.changed_ns) == (size, changed_ns)

    def _enter(self, video: EmbeddedVideo, name: str, facts: tuple[int, int], pending: "_Pending") -> VideoRecord:
        """Put the clips of which the pool has no copy among the pending ones."""
        looks: dict[str, str] = {}
        copied: list[str] = []
        for (first, last), look, vector in zip(video.frames.tolist(), video.looks, video.vectors, strict=True):
            place = ClipPlace(name, first, last)
            if (owner := self._has_copy(vector, look, name, pending)) is not None:
                copied.append(owner)
            else:
                pending.enter(place, vector, look)
                looks[place.frames] = base64.b64encode(look.tobytes()).decode("ascii")
        others = sorted(set(copied) - {name})
        return VideoRecord(*facts, looks, len(copied), video.problem, others)

    def look(self, place: ClipPlace) -> Look | None:
        """What a clip of the pool looks like; None if its video was not recorded before a crash."""
        record = self.videos.get(place.video)
        text = record.looks.get(place.frames) if record else None
        return np.frombuffer(base64.b64decode(text), np.uint8) if text else None

    def _has_copy(self, vector: Vectors, look: Look, name: str, pending: "_Pending") -> str | None:
        """The video that has the same clip, in the pool or about to enter it; old clips of this one do not count."""
        same = np.flatnonzero(same_clip(look, pending.looks))
        if len(same):
            return ClipPlace.of(pending.ids[same[0]]).video
        if not len(self.index):
            return None
        ids, _ = self.index.search(vector[None], 8)
        for place in map(ClipPlace.of, ids[0]):
            other = self.look(place) if place.video != name and place.video not in pending.outdated else None
            if other is not None and same_clip(look, [other]).any():
                return place.video
        return None

    def _save(self, pending: "_Pending") -> None:
        staying = set(pending.ids)
        self.index.remove([clip_id for clip_id in pending.leaving if clip_id not in staying])
        if pending.ids:
            self.index.add(pending.ids, np.stack(pending.vectors))
        if pending.records:
            self.videos |= pending.records
            self._write_videos()

    def _write_videos(self) -> None:
        write_json(self.index.folder / VIDEOS_FILE, {name: asdict(record) for name, record in self.videos.items()})


class _Pending:
    """What was embedded since the last save.

    Args:
        outdated: videos whose clips in the index leave as soon as they are embedded again.
    """

    def __init__(self, outdated: Set[str]) -> None:
        self.outdated = outdated
        self.ids: list[str] = []
        self.vectors: list[Vectors] = []
        self.looks: list[Look] = []
        self.leaving: list[str] = []
        self.records: dict[str, VideoRecord] = {}

    def enter(self, place: ClipPlace, vector: Vectors, look: Look) -> None:
        self.ids.append(place.id)
        self.vectors.append(vector)
        self.looks.append(look)


def _ids_by_video(index: ClipIndex) -> dict[str, list[str]]:
    by_video: dict[str, list[str]] = {}
    for clip_id in index.ids:
        by_video.setdefault(ClipPlace.of(clip_id).video, []).append(str(clip_id))
    return by_video


def _name(path: Path) -> str:
    return str(path.expanduser().resolve())


def _facts(path: Path) -> tuple[str, int, int]:
    """Name, size and modification time, which together stand for the content."""
    try:
        status = path.stat()
    except OSError:
        return _name(path), 0, 0
    return _name(path), 0 if path.is_dir() else status.st_size, status.st_mtime_ns
