"""`fewmask many index`: parts of videos embedded by many workers, entered into one pool."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewmask.addresses import is_address, showable
from fewmask.errors import ConfigError
from fewmask.media.own_files import reading_arrays
from fewmask.media.result_store import ResultStore, is_remote
from fewmask.pipelines.many.manifest import ListedVideo
from fewmask.pipelines.many.once import Bench, Crew, Made, Unit, UnitDone, once, settle
from fewmask.pipelines.many.parts import PlanStep, planned
from fewmask.retrieval.database import FILE
from fewmask.retrieval.embedded_video import EmbeddedVideo, MakeEmbedder, embed_video, joined
from fewmask.retrieval.fixed_features import ClipEmbedder
from fewmask.retrieval.pool import Pool
from fewmask.retrieval.pool_names import Video

POOL = "pool"


@dataclass(frozen=True)
class EmbedStep:
    """A part of a video becomes ``clips.npz``: frames, looks and vectors of its clips.

    Attributes:
        make_embedder: picklable; makes each worker's own.
        seconds: longest clip.
    """

    make_embedder: MakeEmbedder
    seconds: float

    def start(self) -> Callable[[Unit, Bench], Made]:
        """See `Step`."""
        embedder = self.make_embedder()

        def work(unit: Unit, bench: Bench) -> Made:
            found = embed_video(bench.source(), embedder, self.seconds, first=unit.first, stop=unit.stop)
            path = bench.folder / "clips.npz"
            np.savez(
                path, frames=found.frames, vectors=found.vectors, lengths=[len(looks) for looks in found.looks],
                looks=np.concatenate(found.looks) if found.looks else np.zeros((0, 0), np.uint8),
            )  # fmt: skip
            return Made({f"{unit.key}/clips.npz": path}, {"clips": len(found.frames), "problem": found.problem})

        return work


@dataclass(frozen=True)
class IndexSummary:
    """The pool after a run; problems by video."""

    clips: int
    videos: int
    copies: int
    problems: dict[str, str] = field(default_factory=dict)


def index_many(
    videos: Sequence[ListedVideo],
    step: EmbedStep,
    crew: Crew,
    *,
    part_seconds: float = 600.0,
    report: Callable[[UnitDone, int, int], None] = lambda *_: None,
) -> IndexSummary:
    """Embed what has not been embedded yet, and enter it into the pool ``pool`` of the place.

    A part begins a shot, so its length is one of the settings; how many work changes nothing.

    Args:
        videos: of the manifest.
        step: how a part is embedded.
        crew: who does it, and where results go.
        part_seconds: longer videos are divided.
        report: told (outcome, units done, units known so far).

    Raises:
        ConfigError: the place holds results of other settings, or an address more than where its video is.
        FewmaskError: as `once`; or the pool cannot be written.
    """
    for video in videos:
        if showable(video.source) != video.source:
            raise ConfigError(
                f"{showable(video.source)}: an index keeps the addresses of its videos, so they may hold no key or "
                "option; give those in the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...)"
            )
    embedder = step.make_embedder()
    given = {"verb": "index", "embedder": embedder.name, "seconds": step.seconds, "part_seconds": part_seconds}
    settle(crew.place, given)
    units: list[Unit] = []
    for plan, parts in planned(videos, PlanStep(part_seconds), crew):
        units += parts
        report(plan, len(units), len(units))
    done: dict[str, list[UnitDone]] = {}
    for number, part in enumerate(once(units, step, crew), 1):
        done.setdefault(part.unit.source, []).append(part)
        report(part, number, len(units))
    return _entered(done, embedder, ResultStore(crew.place))


def _entered(done: dict[str, list[UnitDone]], embedder: ClipEmbedder, store: ResultStore) -> IndexSummary:
    """One process, this one, writes the pool; so which of two near-copies stays does not depend on who was faster."""
    sources: dict[str, Video] = {source: source if is_address(source) else Path(source) for source in done}
    lost = {source: part.problem for source, parts in done.items() for part in parts if part.problem is not None}
    with tempfile.TemporaryDirectory(prefix="fewmask-") as scratch:
        folder = Path(scratch, POOL) if is_remote(store.place) else Path(store.place, POOL)
        if is_remote(store.place) and store.read(f"{POOL}/{FILE}") is not None:
            folder.mkdir()
            store.fetch(f"{POOL}/{FILE}", Path(scratch))

        def embedded(some: Sequence[Video]) -> Iterable[EmbeddedVideo]:
            for video in some:
                parts = [_read(video, store.fetch(part.files[0], Path(scratch)), part) for part in done[str(video)]]
                yield joined(video, parts)

        pool = Pool.open(folder)
        pool.add([sources[source] for source in done if source not in lost], embedder, embed=embedded)
        records = pool.videos
        if is_remote(store.place):
            copy = Path(scratch, "whole.sqlite")
            with closing(sqlite3.connect(folder / FILE)) as live, closing(sqlite3.connect(copy)) as whole:
                live.backup(whole)  # what lies beside the file is in it then
            store.write(f"{POOL}/{FILE}", copy)
        problems = {name: record.problem for name, record in records.items() if record.problem is not None}
        copies = sum(record.copies for record in records.values())
        return IndexSummary(len(pool.index), len(records), copies, problems | {s: str(p) for s, p in lost.items()})


def _read(video: Video, path: Path, part: UnitDone) -> EmbeddedVideo:
    advice = f"delete {part.unit.key} and embed it again"
    with reading_arrays(path, advice), path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
        ends = np.cumsum(stored["lengths"]).astype(int)
        looks = tuple(np.split(stored["looks"], ends[:-1])) if len(ends) else ()
        return EmbeddedVideo(video, stored["frames"], looks, stored["vectors"], part.facts["problem"])
