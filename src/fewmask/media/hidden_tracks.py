"""Tracks that only clutter a picture: inside a better one, or hardly to be seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fewmask.media import rle
from fewmask.media.results import FrameResult

NESTED = 0.8
"""Share of a track's pixels that lie in a better track from which it is hidden."""
TINY = 0.001
"""Share of the picture below which a track is hidden, on average over the frames where it is."""


class Hidden(NamedTuple):
    """Ids of the tracks that are left out, by reason."""

    nested: frozenset[int]
    tiny: frozenset[int]

    @property
    def ids(self) -> frozenset[int]:
        """All of them."""
        return self.nested | self.tiny

    def named(self, ids: Mapping[int, int]) -> "Hidden":
        """The same under other ids."""
        return Hidden(frozenset(ids[old] for old in self.nested), frozenset(ids[old] for old in self.tiny))

    def __str__(self) -> str:
        """The line that tells a user, without its verb: "3 tracks (2 inside a better one, 1 tiny)"."""
        parts = [f"{len(self.nested)} inside a better one"] if self.nested else []
        parts += [f"{len(self.tiny)} tiny"] if self.tiny else []
        count = len(self.ids)
        return f"{count} track{'' if count == 1 else 's'} ({', '.join(parts)})" if count else "no track"


NOTHING = Hidden(frozenset(), frozenset())


@dataclass
class _Pixels:
    total: int = 0
    frames: int = 0
    inside: dict[int, float] = field(default_factory=dict)  # of other tracks, by id


class TrackClutter:
    """What overlaps what, summed up frame by frame."""

    def __init__(self) -> None:
        self._of: dict[int, _Pixels] = {}
        self._picture = 1

    def add(self, result: FrameResult) -> None:
        """One frame."""
        self._picture = result.size[0] * result.size[1]
        present = [
            (track_id, mask) for track_id, mask in zip(result.track_ids, result.masks, strict=True) if mask is not None
        ]
        shares = rle.shares_inside([mask for _, mask in present])
        for row, (track_id, mask) in enumerate(present):
            pixels = self._of.setdefault(track_id, _Pixels())
            area = rle.area(mask)
            pixels.total += area
            pixels.frames += area > 0
            for column in np.flatnonzero(shares[row]).tolist():
                other = present[column][0]
                if other != track_id:
                    pixels.inside[other] = pixels.inside.get(other, 0.0) + area * shares[row, column]

    def hidden(self, ranking: Sequence[int]) -> Hidden:
        """Which of these tracks are left out, best first."""
        nested, tiny = set(), set()
        for rank, track_id in enumerate(ranking):
            pixels = self._of.get(track_id, _Pixels())
            if pixels.total < TINY * self._picture * pixels.frames:
                tiny.add(track_id)
            elif any(pixels.inside.get(better, 0.0) >= NESTED * pixels.total > 0 for better in ranking[:rank]):
                nested.add(track_id)
        return Hidden(frozenset(nested), frozenset(tiny))
