"""A clip index made from videos: each is cut, embedded and entered once; what cannot be read is listed and skipped.

Beside the clips the database keeps what each video was when it was embedded, so that a later run takes up only what is
new or changed. A video's record and its clips are written together: after a crash both are there or neither.
"""

import json
import time
from collections.abc import Callable, Generator, Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from fewmask.addresses import is_address
from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.clip_place import ClipPlace
from fewmask.retrieval import clip_rows
from fewmask.retrieval.clip_rows import ClipRow, Vectors
from fewmask.retrieval.clips import SECONDS
from fewmask.retrieval.embedded_video import EmbeddedVideo, embed_here
from fewmask.retrieval.fixed_features import ClipEmbedder
from fewmask.retrieval.index import ClipIndex
from fewmask.retrieval.looks import LOOK, Looks, kept_looks, looks_of_place, same_footage
from fewmask.retrieval.pool_names import Video, facts_of, named_video, video_name

_SAVE_EVERY_S = 10.0
_NEVER = -1
_COPIES_AMONG = 8


@dataclass(frozen=True)
class VideoRecord:
    """What became of one video.

    Attributes:
        size: bytes of the file, 0 for a folder of frames.
        changed_ns: its modification time.
        clips: how many were entered.
        copies: clips left out because the pool has nearly the same one.
        problem: why the video, or its rest, was skipped; None if nothing was.
        copied: the videos that have those that were left out.
    """

    size: int
    changed_ns: int
    clips: int
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

    def __init__(self, index: ClipIndex) -> None:
        """Use ``open``."""
        self.index = index

    @classmethod
    def open(cls, folder: str | Path) -> "Pool":
        """The pool in ``folder``; a missing or empty folder is a pool without videos.

        Raises:
            FewmaskError: the folder holds something else, or the index is damaged.
        """
        return cls(ClipIndex.open(folder))

    @property
    def videos(self) -> dict[str, VideoRecord]:
        """Every video that was ever embedded and not removed, by its path.

        Raises:
            FewmaskError: a record is damaged.
        """
        if self.index.dimension is None:
            return {}
        with self.index.database.reading() as connection:
            records = clip_rows.all_videos(connection)
        try:
            return {name: VideoRecord(**json.loads(record)) for name, record in records.items()}
        except (ValueError, TypeError, RecursionError) as error:
            path = self.index.database.path
            raise FewmaskError(f"{path}: damaged ({error}); delete it and index the videos again") from error

    def add(
        self,
        videos: Sequence[Video],
        embedder: ClipEmbedder,
        *,
        seconds: float = SECONDS,
        embed: Callable[[Sequence[Video]], Iterable[EmbeddedVideo]] | None = None,
        report: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Embed the videos that are new or have changed; corrupt and empty ones are recorded and skipped.

        What was done is on disk every few seconds; a killed run goes on where it stopped. Several processes may add to
        one pool; a clip that two of them bring at once is then not known as a copy.

        Args:
            videos: files, or folders of frames, as ``find_videos`` lists them, or addresses of an object store.
            embedder: the same for the whole life of a pool.
            seconds: longest clip.
            embed: embeds the videos it is given, in order; by default one after another by ``embedder``.
            report: called after each video, also those that needed nothing.

        Raises:
            ConfigError: the pool was made with another embedder.
            FewmaskError: the pool cannot be written.
        """
        self._claim(embedder)
        facts = {path: facts_of(path) for path in videos}
        records = self.videos

        def knows(name: str, size: int, changed_ns: int) -> bool:
            known = records.get(name)
            return known is not None and (known.size, known.changed_ns) == (size, changed_ns)

        entered = set(self._videos_with_clips())
        outdated = {name for name, *now in facts.values() if name in entered and not knows(name, *now)}
        records |= self._forget_copies_of(outdated, records)
        changed = [path for path, (name, *now) in facts.items() if not knows(name, *now)]
        new = set(changed)
        known = [path for path in facts if path not in new]
        for done, path in enumerate(known, 1):
            report(Progress(facts[path][0], records[facts[path][0]], done, len(facts)))
        # Clips that are about to leave are no reason to leave out another.
        pending, saved = _Pending({facts[path][0] for path in changed} & entered), time.monotonic()
        fresh = iter(embed(changed) if embed else embed_here(changed, lambda: embedder, seconds))
        try:
            for done, video in enumerate(fresh, len(known) + 1):
                name, *now = facts[video.path]
                pending.records[name] = record = self._enter(video, name, (now[0], now[1]), pending)
                report(Progress(name, record, done, len(facts)))
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    self._save(pending)
                    pending, saved = _Pending(pending.outdated - pending.records.keys()), time.monotonic()
        finally:
            self._save(pending)
            if isinstance(fresh, Generator):
                fresh.close()  # so that its workers do not outlive an error
        self.index.compact()

    def remove(self, videos: Iterable[Video]) -> int:
        """Take videos and their clips out; returns how many were there."""
        records = self.videos
        names = {video_name(path) for path in videos} & (records.keys() | set(self._videos_with_clips()))
        if names:
            again = self._forget_copies_of(names, records, write=False)
            with self.index.writing() as connection:
                for name in sorted(names):
                    clip_rows.take_out(connection, clip_rows.ids_of_video(connection, name))
                clip_rows.forget_videos(connection, sorted(names))
                clip_rows.put_videos(connection, _as_json({n: r for n, r in again.items() if n not in names}))
            self.index.compact()
        return len(names)

    def within(self, sources: Iterable[Video]) -> list[Video]:
        """Videos of the pool that are one of these, or lie in or below one of these folders.

        Raises:
            FewmaskError: there are none of some source.
        """
        names = [*self.videos, *self._videos_with_clips()]
        found: dict[str, None] = {}
        for source in sources:
            place = Path(video_name(source))
            matching = [name for name in names if Path(name) == place or place in Path(name).parents]
            if not matching:
                raise FewmaskError(f"{source}: neither a video of {self.index.folder} nor a folder of some")
            found |= dict.fromkeys(matching)
        return [named_video(name) for name in found]

    def missing(self) -> list[Video]:
        """Videos of the pool that are no longer on disk; addresses are not asked."""
        names = dict.fromkeys([*self.videos, *self._videos_with_clips()])
        return [Path(name) for name in names if not is_address(name) and not Path(name).exists()]

    def looks(self, places: Sequence[ClipPlace]) -> dict[ClipPlace, Looks | None]:
        """What clips of the pool look like; None where that is unknown.

        Of a pool converted from the layout of before it is unknown at first: it is read from the video, if that is
        there still, and remembered.
        """
        with self.index.database.reading() as connection:
            rows = clip_rows.rows_of(connection, [place.id for place in places])
            stored = dict(clip_rows.clips_at(connection, list(rows.values())).values())
        found: dict[ClipPlace, Looks | None] = {}
        for place in places:
            data = stored.get(place.id)
            found[place] = np.frombuffer(data, np.uint8).reshape(-1, LOOK) if data is not None else None
            if place.id in stored and data is None and (read := looks_of_place(place)) is not None:
                found[place] = read
                self._remember(place, read)
        return found

    def _remember(self, place: ClipPlace, looks: Looks) -> None:
        with suppress(FewmaskError), self.index.writing() as connection:  # a pool that is only read is looked up again
            clip_rows.put_looks(connection, place.id, looks.tobytes())

    def _videos_with_clips(self) -> list[str]:
        if self.index.dimension is None:
            return []
        with self.index.database.reading() as connection:
            return clip_rows.videos_with_clips(connection)

    def _forget_copies_of(
        self, names: Set[str], records: dict[str, VideoRecord], *, write: bool = True
    ) -> dict[str, VideoRecord]:
        """See to it that videos of which clips were left out, as copies of clips that leave, are embedded again."""
        again = {
            name: replace(record, changed_ns=_NEVER)
            for name, record in records.items()
            if not names.isdisjoint(record.copied)
        }
        if again and write:
            with self.index.writing() as connection:
                clip_rows.put_videos(connection, _as_json(again))
        return again

    def _claim(self, embedder: ClipEmbedder) -> None:
        """Make sure that all vectors of the pool come from one embedder."""
        if self.index.dimension is None:
            with self.index.writing(embedder.dimension, {"embedder": embedder.name}):
                pass
        made_with = self.index.about.get("embedder", "unknown")
        if made_with != embedder.name:
            raise ConfigError(
                f"{self.index.folder}: made with the embedder {made_with}, not {embedder.name}; "
                "use that one, or index into another folder"
            )

    def _enter(self, video: EmbeddedVideo, name: str, facts: tuple[int, int], pending: "_Pending") -> VideoRecord:
        """Put the clips of which the pool has no copy among the pending ones."""
        copied: list[str] = []
        for (first, last), looks, vector in zip(video.frames.tolist(), video.looks, video.vectors, strict=True):
            if (owner := self._has_copy(vector, looks, name, pending)) is not None:
                copied.append(owner)
            else:
                pending.enter(ClipPlace(name, first, last), vector, kept_looks(looks))
        others = sorted(set(copied) - {name})
        return VideoRecord(*facts, len(video.frames) - len(copied), len(copied), video.problem, others)

    def _has_copy(self, vector: Vectors, looks: Looks, name: str, pending: "_Pending") -> str | None:
        """Another video that has the same footage, in the pool or about to enter it.

        Not this one: a camera that stands still sees much the same all day.
        """
        for place, other in pending.looks.items():
            if place.video != name and same_footage(looks, other):
                return place.video
        if not len(self.index):
            return None
        ids, _ = self.index.search(vector[None], _COPIES_AMONG)
        places = [place for place in map(ClipPlace.of, ids[0]) if place.video not in {name, *pending.outdated}]
        for place, seen in self.looks(places).items():
            if seen is not None and same_footage(looks, seen):
                return place.video
        return None

    def _save(self, pending: "_Pending") -> None:
        if not pending.records:
            return
        with self.index.writing() as connection:
            for name in pending.records:
                clip_rows.take_out(connection, clip_rows.ids_of_video(connection, name))
            clip_rows.enter(connection, pending.clips)
            clip_rows.put_videos(connection, _as_json(pending.records))
        self.index.settle()


class _Pending:
    """What was embedded since the last save.

    Args:
        outdated: videos whose clips in the index leave as soon as they are embedded again.
    """

    def __init__(self, outdated: Set[str]) -> None:
        self.outdated = outdated
        self.clips: list[ClipRow] = []
        self.looks: dict[ClipPlace, Looks] = {}
        self.records: dict[str, VideoRecord] = {}

    def enter(self, place: ClipPlace, vector: Vectors, looks: Looks) -> None:
        self.clips.append(ClipRow(place.id, vector, looks.tobytes()))
        self.looks[place] = looks


def _as_json(records: dict[str, VideoRecord]) -> dict[str, str]:
    return {name: json.dumps(asdict(record)) for name, record in records.items()}
