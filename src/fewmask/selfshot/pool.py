"""Filling a clip index from videos: each is cut, embedded and entered once; what cannot be read is listed and skipped.

Beside the index's own files the folder holds ``videos.json``: what each video was when it was embedded, so that a later
run takes up only what is new or changed. It is written after the vectors, so a run that dies between the two embeds
those videos again, under the same ids.
"""

import base64
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fewmask.errors import ConfigError, FewmaskError, VideoError
from fewmask.media.atomic import write_json
from fewmask.selfshot.clips import SECONDS
from fewmask.selfshot.embedded_video import EmbeddedVideo, embed_here
from fewmask.selfshot.exact_scan import Vectors
from fewmask.selfshot.fixed_features import ClipEmbedder
from fewmask.selfshot.index import ClipIndex
from fewmask.selfshot.looks import Look, same_clip

VIDEO_SUFFIXES = {
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".wmv",
    ".flv",
    ".ogv",
    ".gif",
}
VIDEOS_FILE = "videos.json"
_SAVE_EVERY_S = 10.0


@dataclass(frozen=True)
class ClipPlace:
    """Where a clip lies: frames first to last of a video."""

    video: str
    first: int
    last: int

    @property
    def id(self) -> str:
        """The name under which the clip is indexed."""
        return f"{self.video}#{self.frames}"

    @property
    def frames(self) -> str:
        """The frames as "first-last"."""
        return f"{self.first}-{self.last}"

    @property
    def title(self) -> str:
        """For people: "dog.mp4  frames 0-149"."""
        return f"{Path(self.video).name}  frames {self.frames}"

    @classmethod
    def of(cls, clip_id: object) -> "ClipPlace":
        """The place that ``id`` names.

        Raises:
            FewmaskError: the id is not one of a pool made from videos.
        """
        video, separator, frames = str(clip_id).rpartition("#")
        first, _, last = frames.partition("-")
        if not separator or not first.isdecimal() or not last.isdecimal():
            raise FewmaskError(f"{clip_id!r} names no clip of a video; make the index with `fewmask index`")
        return cls(video, int(first), int(last))


@dataclass(frozen=True)
class VideoRecord:
    """What became of one video.

    Attributes:
        size: bytes of the file, 0 for a folder of frames.
        changed_ns: its modification time.
        looks: the clips entered, "first-last" -> what the clip looks like (base64).
        copies: clips left out because the pool has nearly the same one.
        problem: why the video, or its rest, was skipped; None if nothing was.
    """

    size: int
    changed_ns: int
    looks: dict[str, str]
    copies: int
    problem: str | None = None


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
        changed = [path for path, (name, *now) in facts.items() if not self._knows(name, *now)]
        known = [path for path in facts if path not in set(changed)]
        for done, path in enumerate(known, 1):
            report(Progress(facts[path][0], self.videos[facts[path][0]], done, len(facts)))
        entered = _ids_by_video(self.index) if changed else {}
        pending, saved = _Pending(), time.monotonic()
        fresh = embed(changed) if embed else embed_here(changed, lambda: embedder, seconds)
        try:
            for done, video in enumerate(fresh, len(known) + 1):
                name, *now = facts[video.path]
                pending.records[name] = self._enter(video, name, (now[0], now[1]), pending)
                pending.leaving += entered.get(name, [])
                report(Progress(name, pending.records[name], done, len(facts)))
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    self._save(pending)
                    pending, saved = _Pending(), time.monotonic()
        finally:
            self._save(pending)
        self.index.compact()

    def remove(self, videos: Iterable[Path]) -> int:
        """Take videos and their clips out; returns how many were there."""
        names = {_name(path) for path in videos} & self.videos.keys()
        entered = _ids_by_video(self.index)
        self.index.remove([clip_id for name in names for clip_id in entered.get(name, [])])
        self.videos = {name: record for name, record in self.videos.items() if name not in names}
        if names:
            self._write_videos()
            self.index.compact()
        return len(names)

    def missing(self) -> list[Path]:
        """Videos of the pool that are no longer on disk."""
        return [Path(name) for name in self.videos if not Path(name).exists()]

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
        for (first, last), look, vector in zip(video.frames.tolist(), video.looks, video.vectors, strict=True):
            if not self._has_copy(vector, look, name, pending):
                place = ClipPlace(name, first, last)
                pending.enter(place, vector, look)
                looks[place.frames] = base64.b64encode(look.tobytes()).decode("ascii")
        return VideoRecord(*facts, looks, len(video.frames) - len(looks), video.problem)

    def look(self, place: ClipPlace) -> Look | None:
        """What a clip of the pool looks like; None if its video was not recorded before a crash."""
        record = self.videos.get(place.video)
        text = record.looks.get(place.frames) if record else None
        return np.frombuffer(base64.b64decode(text), np.uint8) if text else None

    def _has_copy(self, vector: Vectors, look: Look, name: str, pending: "_Pending") -> bool:
        """Whether the same clip is in the pool or about to enter it; the video's own old clips do not count."""
        if same_clip(look, pending.looks).any():
            return True
        if not len(self.index):
            return False
        ids, _ = self.index.search(vector[None], 8)
        places = [ClipPlace.of(clip_id) for clip_id in ids[0] if clip_id is not None]
        looks = [self.look(place) for place in places if place.video != name]
        return bool(same_clip(look, [other for other in looks if other is not None]).any())

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
    """What was embedded since the last save."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.vectors: list[Vectors] = []
        self.looks: list[Look] = []
        self.leaving: list[str] = []
        self.records: dict[str, VideoRecord] = {}

    def enter(self, place: ClipPlace, vector: Vectors, look: Look) -> None:
        self.ids.append(place.id)
        self.vectors.append(vector)
        self.looks.append(look)


def find_videos(sources: Sequence[Path]) -> list[Path]:
    """Video files and folders of frames: folders that hold videos stand for all videos in and below them.

    Raises:
        VideoError: a path does not exist, or a folder holds neither videos nor anything else that could be frames.
    """
    found: list[Path] = []
    for source in sources:
        if not source.exists():
            raise VideoError(f"{source}: no such file or folder; check the path")
        if not source.is_dir():
            found.append(source)
            continue
        inside = sorted(path for path in source.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
        if not inside and not any(source.iterdir()):
            raise VideoError(f"{source}: an empty folder; give videos, or folders that hold some")
        found += inside or [source]
    return list({_name(path): path for path in found}.values())


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
