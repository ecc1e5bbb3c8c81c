"""A run and its corrections as one thing: read by stretch for viewers, frame by frame for exports."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.corrections.edits import Change, Redo, Undo, read_edit
from fewmask.corrections.journal import FILE_NAME, Entry, Journal
from fewmask.corrections.result_index import STRETCH, Presence, ResultIndex, open_index
from fewmask.corrections.state import Corrected, Piece
from fewmask.datasets.json_file import load_object
from fewmask.errors import ConfigError, DatasetError
from fewmask.media import rle
from fewmask.media.results import FrameResult, Size
from fewmask.media.rle import Rle
from fewmask.media.video_facts import NAME as VIDEO_FACTS
from fewmask.media.video_facts import VideoFacts

RESULTS = "tracks.json"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Step:
    """An entry of the journal and whether it holds now; undone ones do not, undo and redo are no steps."""

    entry: Entry
    holds: bool


class CorrectedRun:
    """A run directory seen through its corrections; threads may share it.

    Attributes:
        path: the folder.
        manifest: what its ``manifest.json`` holds.
        source: what was segmented: a path, an address, a camera number, or None where the manifest does not say.
        index: the run's own masks.
    """

    def __init__(
        self, path: Path, manifest: Mapping[str, Any], index: ResultIndex, size: Size, journal: Journal
    ) -> None:
        """Use `open`."""
        self.path, self.manifest, self.index = path, manifest, index
        self.source = _source(manifest)
        self._journal = journal
        self._lock = threading.RLock()
        names = class_names(path)
        self._untouched = Corrected.untouched(
            size,
            index.length,
            ((track.track_id, names.get(track.category_id, f"class {track.category_id}")) for track in index.tracks),
        )
        self._category_ids = {name: number for number, name in sorted(names.items(), reverse=True)}
        self._scores = {track.track_id: track.score for track in index.tracks}
        self._folded = 0
        self._holding: list[tuple[Entry, Corrected]] = []
        self._undone: list[Entry] = []
        self._fold()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        size: Size | None = None,
        cache: Path | None = None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> "CorrectedRun":
        """The run in a folder.

        Args:
            path: what `fewmask segment --out` wrote.
            size: (height, width) of the video, needed where the run found nothing at all.
            cache: where the index by frames is kept; default: the user's cache folder.
            progress: called with bytes read and bytes in all while the index is made, once per run.

        Raises:
            ConfigError: the folder holds no run.
            DatasetError: the results or the journal are damaged, or do not belong to one another.
        """
        folder = Path(path)
        if not is_run(folder):
            raise ConfigError(f"{folder}: holds no results of a run; give the --out of `fewmask segment`")
        manifest = load_object(folder / MANIFEST) if (folder / MANIFEST).exists() else {}
        index = open_index(folder / RESULTS, folder=cache, progress=progress)
        known = index.size or size or (1, 1)
        belongs = {"frames": index.length, "size": list(known), "bytes": (folder / RESULTS).stat().st_size}
        return cls(folder, manifest, index, known, Journal(folder / FILE_NAME, belongs))

    @property
    def state(self) -> Corrected:
        """The tracks as they are now."""
        with self._lock:
            return self._holding[-1][1] if self._holding else self._untouched

    @property
    def version(self) -> int:
        """Of the journal; grows with every correction, undo and redo."""
        return self._folded

    @property
    def can_undo(self) -> bool:
        """Whether there is a correction to take back."""
        return bool(self._holding)

    @property
    def can_redo(self) -> bool:
        """Whether there is one to bring back."""
        return bool(self._undone)

    def refresh(self) -> None:
        """Take up what another process wrote into the journal."""
        with self._lock:
            if self._journal.refresh():
                self._fold()

    def correct(self, edit: Change | Undo | Redo | Mapping[str, Any], based_on: int) -> int:
        """Make a correction; it is on the disk when this returns the new version.

        Raises:
            VersionConflictError: ``based_on`` is not the present version.
            DatasetError: the correction cannot be made.
        """
        checked = read_edit(dict(edit), "correction") if isinstance(edit, Mapping) else edit
        with self._lock:
            self.refresh()
            if based_on == self.version:  # otherwise the journal tells of the conflict
                self._next(checked)
            try:
                self._journal.append(checked, based_on)
            finally:
                self._fold()
            return self.version

    def steps(self) -> list[Step]:
        """What was corrected, oldest first, without what other corrections replaced after an undo."""
        with self._lock:
            done = [Step(entry, True) for entry, _ in self._holding]
            return done + [Step(entry, False) for entry in reversed(self._undone)]

    def masks(self, first: int, count: int) -> dict[int, list[Rle | None]]:
        """Track id -> ``count`` masks from frame ``first`` on; tracks without any there are left out."""
        state = self.state
        last = min(first + count, state.length) - 1
        if last < first:
            return {}
        found: dict[int, list[list[str]]] = {}
        own = _Stretches(self.index, first, last)
        for track in state.tracks.values():
            inside = [piece for piece in track.pieces if piece.first <= last and piece.last >= first]
            columns: list[list[str]] = [[] for _ in range(last - first + 1)]
            for piece in inside:
                for frame in range(max(piece.first, first), min(piece.last, last) + 1):
                    counts = own.counts(piece.source, frame) if piece.source is not None else piece.drawn
                    if counts is not None:
                        columns[frame - first].append(counts)
            if any(columns):
                found[track.track_id] = columns
        return {track_id: [_united(counts, state.size) for counts in columns] for track_id, columns in found.items()}

    def presence(self, track_id: int) -> Presence:
        """Where a track is now and how sure, uint8 [T]: 0 absent, else 1 to 255; drawn masks count as sure."""
        track = self.state.tracks[track_id]
        values = np.zeros(self.state.length, np.uint8)
        for piece in track.pieces:
            part = values[piece.first : piece.last + 1]
            own = 255 if piece.source is None else self.index.presence(piece.source)[piece.first : piece.last + 1]
            np.maximum(part, own, out=part)
        return values

    def score(self, track_id: int) -> float:
        """The mean over the frames where the track has a mask; of a track no correction touched, the run's own."""
        track = self.state.tracks[track_id]
        whole = Piece(0, self.state.length - 1, track_id)
        if track.pieces == (whole,) and track_id in self._scores:
            return self._scores[track_id]
        present = self.presence(track_id)
        present = present[present > 0]
        return float((present.astype(np.float64) - 1).mean() / 254) if len(present) else 0.0

    def categories(self) -> dict[int, str]:
        """Category id -> name of the classes there are now; the run's own keep their ids."""
        names = dict.fromkeys(track.name for track in self.state.tracks.values())
        ids = {name: self._category_ids[name] for name in names if name in self._category_ids}
        for name in names:
            if name not in ids:
                ids[name] = max([*ids.values(), *self._category_ids.values()], default=0) + 1
        return {ids[name]: name for name in names}

    def checked_frames(self) -> list[int]:
        """Frames that a person fixed or confirmed, ascending."""
        return [frame for first, last in self.state.checked for frame in range(first, last + 1)]

    def frames(self, only: Sequence[int] | None = None) -> Iterator[FrameResult]:
        """The corrected frames in order, with the tracks that have a mask there; memory is that of one stretch.

        Args:
            only: these frames alone, ascending.
        """
        state, ids = self.state, {name: number for number, name in self.categories().items()}
        rows = {track.track_id: (ids[track.name], self.score(track.track_id)) for track in state.tracks.values()}
        wanted = range(state.length) if only is None else only
        begin, found = -STRETCH, {}
        for frame in wanted:
            if frame // STRETCH * STRETCH != begin:
                begin = frame // STRETCH * STRETCH
                found = self.masks(begin, STRETCH)
            there = [(track_id, masks[frame - begin]) for track_id, masks in found.items() if masks[frame - begin]]
            yield FrameResult(
                frame,
                state.size,
                tuple(track_id for track_id, _ in there),
                tuple(rows[track_id][0] for track_id, _ in there),
                tuple(rows[track_id][1] for track_id, _ in there),
                tuple(mask for _, mask in there),
            )

    def _next(self, edit: Change | Undo | Redo) -> None:
        """See that a correction can be made."""
        if isinstance(edit, Undo):
            if not self.can_undo:
                raise DatasetError("there is nothing to undo")
        elif isinstance(edit, Redo):
            if not self.can_redo:
                raise DatasetError("there is nothing to redo")
        else:
            self.state.after(edit)

    def _fold(self) -> None:
        for entry in self._journal.entries[self._folded :]:
            try:
                self._next(entry.edit)
            except DatasetError as error:
                raise DatasetError(f"{self._journal.path}, version {entry.version}: {error}") from error
            if isinstance(entry.edit, Undo):
                self._undone.append(self._holding.pop()[0])
            elif isinstance(entry.edit, Redo):
                again = self._undone.pop()
                self._hold(again)
            else:
                self._undone.clear()
                self._hold(entry)
            self._folded = entry.version

    def _hold(self, entry: Entry) -> None:
        if not isinstance(entry.edit, Undo | Redo):
            self._holding.append((entry, self.state.after(entry.edit)))


class _Stretches:
    """The run's own masks between two frames, read from the index as tracks ask for them."""

    def __init__(self, index: ResultIndex, first: int, last: int) -> None:
        everything = [track.track_id for track in index.tracks]
        numbers = range(first // STRETCH, last // STRETCH + 1)
        self._blocks = {number: index.stretch(number, everything) for number in numbers}

    def counts(self, track_id: int, frame: int) -> str | None:
        block = self._blocks[frame // STRETCH].get(track_id)
        return None if block is None else block[frame % STRETCH]


def is_run(folder: Path) -> bool:
    """Whether a folder holds results of one video, or is a run that will."""
    return (folder / RESULTS).is_file()


def class_names(folder: Path) -> dict[int, str]:
    """Class names by id as the run in ``folder`` noted them; ``object`` for class 1 where it is no run of ours.

    Raises:
        DatasetError: what it noted of its video is damaged.
    """
    return dict(VideoFacts.read(folder).categories) if (folder / VIDEO_FACTS).exists() else {1: "object"}


def _source(manifest: Mapping[str, Any]) -> str | int | None:
    inputs = manifest.get("inputs")
    noted = inputs.get("source") if isinstance(inputs, dict) else None
    value = noted.get("path") if isinstance(noted, dict) else noted
    return value if isinstance(value, str | int) else None


def _united(counts: list[str], size: Size) -> Rle | None:
    if not counts:
        return None
    masks: list[Rle] = [{"size": [size[0], size[1]], "counts": text} for text in counts]
    return masks[0] if len(masks) == 1 else rle.union(masks)
