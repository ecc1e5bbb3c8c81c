"""Units of work, each done exactly once, by processes of this machine or actors of a Ray cluster.

The files of a unit come first, its marker `DONE` last: an object that appears whole or not at all. So a worker that
dies leaves nothing that counts, the unit is done again by another, and a second run does only what has no marker. Two
workers that do the same unit by chance write the same bytes. Every verb over many videos is steps of such units.
"""

import hashlib
import json
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from fewmask.addresses import showable
from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.processes import WorkerDiedError, outcomes
from fewmask.media.result_store import ResultStore, fetched, is_remote

DONE = "done.json"
SETTINGS = "settings.json"
_TRIES = 3  # worker pools that may die one after the other without a unit done in between


@dataclass(frozen=True)
class Unit:
    """A video or a part of one, for one step.

    Attributes:
        key: folder below the place in which its marker lies.
        name: of the video.
        source: path or address of the video.
        first: frame at which the part begins.
        stop: frame behind its end; None = to the end of the video.
        needs: files of earlier units, names below the place.
        facts: plain values of earlier units.
    """

    key: str
    name: str
    source: str
    first: int = 0
    stop: int | None = None
    needs: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """What came of a unit: files by their names below the place, and plain values for its marker."""

    files: Mapping[str, Path]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class UnitDone:
    """What became of a unit.

    Attributes:
        unit: which.
        facts: of its marker; empty where there is a problem.
        files: names below the place.
        worked_s: seconds a worker took, 0 where an earlier run did it.
        problem: why there is no result, None where there is one.
    """

    unit: Unit
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    worked_s: float = 0.0
    problem: str | None = None


@dataclass(frozen=True)
class Crew:
    """Who works, and where results go.

    Attributes:
        place: folder or address of the results.
        workers: processes, or actors over all machines.
        ray: address of a Ray cluster, "local", or None for processes alone.
        gpus: that an actor asks Ray for.
    """

    place: str
    workers: int = 1
    ray: str | None = None
    gpus: float = 0


class Bench:
    """What a worker has at hand for one unit: an empty folder, the video, the files of earlier units."""

    def __init__(self, folder: Path, store: ResultStore, source: Callable[[], Path]) -> None:
        self.folder = folder
        self._store, self._source = store, source

    def source(self) -> Path:
        """The video on this machine.

        Raises:
            FewmaskError: it cannot be fetched.
        """
        return self._source()

    def fetch(self, name: str) -> Path:
        """A file of the place on this machine.

        Raises:
            FewmaskError: it is not there.
        """
        return self._store.fetch(name, self.folder / "fetched")


class Step(Protocol):
    """What is done to every unit; picklable."""

    def start(self) -> Callable[[Unit, Bench], Made]:
        """Make a worker's own function; called in the worker when it has its first unit to do."""
        ...


def once(units: Sequence[Unit], step: Step, crew: Crew) -> Generator[UnitDone, None, None]:
    """Do every unit that has no marker yet; what becomes of each, in the order of the units.

    A unit whose video cannot be read is told of and leaves no marker; the others go on.

    Raises:
        ConfigError: what a worker finds wrong for every unit.
        FewmaskError: workers died again and again, or the cluster failed; what is done is kept.
    """
    make, rest, died = partial(_Worker, step, crew.place), list(units), 0
    while rest:
        before = len(rest)
        try:
            for done in _spread(rest, make, crew):
                rest = rest[1:]
                yield done
        except WorkerDiedError:
            died = died + 1 if len(rest) == before else 0
            if died >= _TRIES:
                raise


def settle(place: str, settings: Mapping[str, Any]) -> None:
    """Write down with what the results of a place are made, or see that it was the same.

    Raises:
        ConfigError: there are results of other settings.
    """
    store, wanted = ResultStore(place), json.loads(json.dumps(_placeless(settings), default=str))
    known = store.read(SETTINGS)
    if known is None:
        store.put(SETTINGS, json.dumps(wanted, sort_keys=True).encode())
        return
    try:
        before = json.loads(known)
        differing = [name for name in sorted({*before, *wanted}) if before.get(name) != wanted.get(name)]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{showable(place)}: {SETTINGS} is damaged; use another --out") from error
    if differing:
        name = differing[0]
        raise ConfigError(
            f"{showable(place)}: holds results of another {name} ({before.get(name)!r}, now {wanted.get(name)!r}); "
            "repeat it as it was, or use another --out"
        )


def _placeless(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Files are told by their content: another machine may have them elsewhere."""
    return {
        name: {key: part for key, part in value.items() if key != "path"} if isinstance(value, dict) else value
        for name, value in settings.items()
    }


def _spread(
    units: Sequence[Unit], make: Callable[[], Callable[[Unit], UnitDone]], crew: Crew
) -> Generator[UnitDone, None, None]:
    if crew.ray is None:
        return outcomes(units, make, workers=crew.workers, threads=1)
    from fewmask.media.ray_processes import outcomes_on_ray

    return outcomes_on_ray(units, make, workers=crew.workers, address=crew.ray, gpus=crew.gpus, threads=1)


class _Worker:
    """Does one unit after the other; holds the last video it fetched, for its next part."""

    def __init__(self, step: Step, place: str) -> None:
        self._step, self._store = step, ResultStore(place)
        self._work: Callable[[Unit, Bench], Made] | None = None
        self._held: tuple[str, Callable[[], object], Path] | None = None

    def __call__(self, unit: Unit) -> UnitDone:
        known = self._store.read(f"{unit.key}/{DONE}")
        if known is not None:
            try:
                marker = json.loads(known)
                return UnitDone(unit, dict(marker["facts"]), tuple(map(str, marker["sha256"])))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise ConfigError(f"{unit.key}/{DONE}: damaged; delete it and its unit is done again") from error
        start = time.perf_counter()
        try:
            if self._work is None:
                self._work = self._step.start()
            with tempfile.TemporaryDirectory(prefix="fewmask-") as folder:
                made = self._work(unit, Bench(Path(folder), self._store, lambda: self._fetched(unit.source)))
                self._commit(unit, made, Path(folder) / DONE)
        except ConfigError:
            raise  # wrong for every unit
        except FewmaskError as error:
            return UnitDone(unit, worked_s=time.perf_counter() - start, problem=str(error))
        return UnitDone(unit, dict(made.facts), tuple(made.files), time.perf_counter() - start)

    def _commit(self, unit: Unit, made: Made, marker: Path) -> None:
        sums = {}
        for name, path in made.files.items():
            self._store.write(name, path)
            with path.open("rb") as handle:
                sums[name] = hashlib.file_digest(handle, "sha256").hexdigest()
        content = {"source": showable(unit.source), "facts": dict(made.facts), "sha256": sums}
        marker.write_text(json.dumps(content, sort_keys=True))
        self._store.write(f"{unit.key}/{DONE}", marker)

    def _fetched(self, source: str) -> Path:
        if not is_remote(source):
            return Path(source)
        if self._held is None or self._held[0] != source:
            if self._held is not None:
                self._held[1]()
            folder = tempfile.mkdtemp(prefix="fewmask-")
            # It goes with the worker, who has no other end.
            gone = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._held = (source, gone, fetched(source, Path(folder)))
        return self._held[2]
