"""``tracks.json`` of a run: YouTube-VIS results of videos of any length, without holding their masks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TextIO

from fewmask.media.atomic import whole_file
from fewmask.media.results import FrameResult, Track

_HELD = 4 << 20  # characters held in memory, over all tracks, before they are written out


class TracksFile:
    """Frames come one by one; every track grows in a file of its own and they are joined at the end.

    Args:
        path: the file, which appears whole when the block ends without error.
        tracks: id, class and score of every track, as they are written; their masks are ignored.
        slots: for every track, its name in the frames that are added.
        frame_scores: also write "frame_scores", each track's confidence frame by frame, null where it has none.
    """

    def __init__(
        self, path: Path, tracks: Sequence[Track], slots: Sequence[int], *, frame_scores: bool = False
    ) -> None:
        self._path, self._tracks, self._slots = path, tracks, slots
        names = ("segmentations", "frame_scores") if frame_scores else ("segmentations",)
        self._lists = {
            name: [_GrowingList(path.with_name(f".tracks.{name}.{i}.part")) for i in range(len(tracks))]
            for name in names
        }
        self._next = self._held = 0

    def __enter__(self) -> Self:
        return self

    def add(self, result: FrameResult) -> None:
        """One frame; frames that were skipped before it become null."""
        gap = "null," * (result.index - self._next)
        found = {"segmentations": result.masks, "frame_scores": result.scores}
        for name, lists in self._lists.items():
            values = dict(zip(result.track_ids, found[name], strict=True))
            for grown, slot in zip(lists, self._slots, strict=True):
                self._held += grown.add(gap + json.dumps(values.get(slot), separators=(",", ":")) + ",")
        self._next = result.index + 1
        if self._held > _HELD:
            self._write_out()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write_out()
                self._join()
        finally:
            for lists in self._lists.values():
                for grown in lists:
                    grown.path.unlink(missing_ok=True)

    def _write_out(self) -> None:
        for lists in self._lists.values():
            for grown in lists:
                grown.write_out()
        self._held = 0

    def _join(self) -> None:
        with whole_file(self._path) as temporary, temporary.open("w", encoding="ascii") as whole:
            whole.write("[")
            for number, track in enumerate(self._tracks):
                head = {
                    "video_id": 1,
                    "track_id": track.track_id,
                    "category_id": track.category_id,
                    "score": track.score,
                }
                whole.write(("," if number else "") + "\n" + json.dumps(head)[:-1])
                for name, lists in self._lists.items():
                    whole.write(f', "{name}": [')
                    lists[number].copy_to(whole)
                    whole.write("]")
                whole.write("}")
            whole.write("\n]\n")


class _GrowingList:
    """The entries of one JSON list; the file is open only while it is written, so there may be any number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("", encoding="ascii")
        self._held: list[str] = []

    def add(self, text: str) -> int:
        """Take entries, each with a comma behind it; gives their length."""
        self._held.append(text)
        return len(text)

    def write_out(self) -> None:
        with self.path.open("a", encoding="ascii") as file:
            file.write("".join(self._held))
        self._held = []

    def copy_to(self, whole: TextIO) -> None:
        """All entries, without the last comma."""
        held = ""
        with self.path.open(encoding="ascii") as file:
            while chunk := file.read(1 << 20):
                whole.write(held)
                held = chunk
        whole.write(held.removesuffix(","))
