"""``tracks.json`` of a run: YouTube-VIS results of videos of any length, without holding their masks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TextIO

from fewmask.media.atomic import whole_file
from fewmask.media.results import FrameResult, Track


class TracksFile:
    """Frames come one by one; the tracks grow beside one another in a file each and are joined at the end.

    Args:
        path: the file, which appears whole when the block ends without error.
        tracks: id, class and score of every track; their masks are ignored.
        slots: the track id in the frames that are added, for every track.
    """

    def __init__(self, path: Path, tracks: Sequence[Track], slots: Sequence[int]) -> None:
        self._path, self._tracks, self._slots = path, tracks, slots
        self._parts: list[TextIO] = []
        self._next = 0

    def __enter__(self) -> Self:
        self._paths = [self._path.with_name(f".tracks.{i}.part") for i in range(len(self._tracks))]
        self._parts = [path.open("w", encoding="ascii") for path in self._paths]
        return self

    def add(self, result: FrameResult) -> None:
        """One frame; frames that were skipped before it become null."""
        masks = dict(zip(result.track_ids, result.masks, strict=True))
        for part, slot in zip(self._parts, self._slots, strict=True):
            gap = "null," * (result.index - self._next)
            part.write(gap + json.dumps(masks.get(slot), separators=(",", ":")) + ",")
        self._next = result.index + 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for part in self._parts:
            part.close()
        try:
            if kind is None:
                self._join()
        finally:
            for path in self._paths:
                path.unlink(missing_ok=True)

    def _join(self) -> None:
        with whole_file(self._path) as temporary, temporary.open("w", encoding="ascii") as whole:
            whole.write("[")
            for number, (track, path) in enumerate(zip(self._tracks, self._paths, strict=True)):
                head = {"video_id": 1, "category_id": track.category_id, "score": track.score}
                whole.write(("," if number else "") + "\n" + json.dumps(head)[:-1] + ', "segmentations": [')
                with path.open(encoding="ascii") as part:
                    _copy_without_last_comma(part, whole)
                whole.write("]}")
            whole.write("\n]\n")


def _copy_without_last_comma(part: TextIO, whole: TextIO) -> None:
    held = ""
    while chunk := part.read(1 << 20):
        whole.write(held)
        held = chunk
    whole.write(held.removesuffix(","))
