"""MinVIS tracks that hold two objects, taken apart where another track has one of them alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fewmask.media import rle
from fewmask.media.results import FrameResult
from fewmask.vipmt.instances import components, iou

Mask = npt.NDArray[np.bool_]
"""Bool [H, W]."""

MIN_SCORE = 0.2
"""Mean score so far from which a MinVIS track counts; lower ones are mostly parts and background."""
SAME_OBJECT = 0.5
"""IoU from which a piece of one track and another track are the same object."""
MIN_OVERLAP = 0.1
"""IoU with its last place from which a piece is what was handed over before, though nobody else outlines it now."""
PLACE_FRAMES = 25
"""Frames for which a place says anything."""
_COMPARED_AT = 240  # overlaps of larger pictures are counted on every second, third, ... pixel


@dataclass(frozen=True)
class HandedPiece:
    """What a track held besides its own object.

    Attributes:
        owner: id of the track that it is shown as.
        place: where it was last.
        own: where the track's own was then.
        index: of that frame.
    """

    owner: int
    place: rle.Rle
    own: rle.Rle
    index: int


class ShownTrack(NamedTuple):
    """A mask, the id that it is shown under, and for a handed-over piece the track that held it besides its own."""

    track_id: int
    mask: Mask
    held_by: int | None = None


class TracksApart:
    """Frame after frame of one video, the masks to be shown.

    One query may hold two objects that lie apart, as a person and a dog, where others outline each of them alone. Then:

    - The track's own piece is where its own was when it last handed one over, else the largest.
    - A piece that a better track outlines is left to that track.
    - A piece that worse tracks outline is shown in their place, as one of them. The id that a track hands over to stays
      the same whoever outlines the piece later; and a piece that nobody outlines is still handed over where the last
      one was.
    - Other pieces stay, for occlusion may have cut them off.
    """

    def __init__(self) -> None:
        self._handed: dict[int, HandedPiece] = {}

    def step(self, tracks: FrameResult) -> list[ShownTrack]:
        """What is shown, each id once.

        Args:
            tracks: one row per MinVIS track, best first.

        Returns:
            those that count, best first; a handed-over piece stands after the track that held it
        """
        whole = [
            (track_id, rle.decode(mask))
            for track_id, score, mask in zip(tracks.track_ids, tracks.scores, tracks.masks, strict=True)
            if mask is not None and score >= MIN_SCORE
        ]
        stride = max(1, min(tracks.size) // _COMPARED_AT)
        small = [(track_id, _thinned(mask, stride)) for track_id, mask in whole]
        taken: set[int] = set()  # ids that are shown already, or whose object is
        apart: list[ShownTrack] = []
        for rank, (track_id, mask) in enumerate(whole):
            if track_id in taken:
                continue
            taken.add(track_id)
            better = [other for _, other in small[:rank]]
            worse = {other: its for other, its in small[rank + 1 :] if other not in taken}
            given = self._given(track_id, _Pieces(components(mask), stride), better, worse, taken, tracks.index)
            kept = mask & ~np.any([piece for piece, _ in given], axis=0) if given else mask
            if kept.any():
                apart.append(ShownTrack(track_id, kept))
            handed = [ShownTrack(owner, piece, track_id) for piece, owner in given if owner is not None]
            if handed:
                place = rle.encode(handed[0].mask)
                self._handed[track_id] = HandedPiece(handed[0].track_id, place, rle.encode(kept), tracks.index)
            apart += handed
        return apart

    def _given(
        self,
        track_id: int,
        pieces: "_Pieces",
        better: Sequence[Mask],
        worse: dict[int, Mask],
        taken: set[int],
        index: int,
    ) -> list[tuple[Mask, int | None]]:
        """The pieces of a track that are others', each with whom it is shown as, None where a better track shows it."""
        last = self._handed.get(track_id)
        fresh = last is not None and index - last.index <= PLACE_FRAMES
        if not pieces.whole or (len(pieces.whole) == 1 and not fresh):
            return []
        own, places = pieces.own_and_places(last if fresh else None)
        outlined_by = [
            [other for other, mask in worse.items() if iou(piece, mask) >= SAME_OBJECT] for piece in pieces.small
        ]
        usual = last.owner if last is not None and last.owner not in taken else None
        # First the piece that the usual owner outlines itself, then the one where the last was.
        order = sorted(range(len(places)), key=lambda number: (usual not in outlined_by[number], -places[number]))
        given: list[tuple[Mask, int | None]] = []
        for number in order:
            if number == own:
                continue
            outliners = [other for other in outlined_by[number] if other not in taken]
            if any(iou(pieces.small[number], mask) >= SAME_OBJECT for mask in better):
                given.append((pieces.whole[number], None))
                continue
            if usual is not None and usual not in taken and (outliners or places[number] >= MIN_OVERLAP):
                owner = usual
            elif outliners:
                owner = outliners[0]
            else:
                continue
            given.append((pieces.whole[number], owner))
            taken.update(outliners, [owner])
        return given

    def state(self) -> list[Any]:
        """What going on needs, as plain JSON values."""
        return [[track_id, asdict(piece)] for track_id, piece in self._handed.items()]

    def restore(self, state: list[Any]) -> None:
        """Go on from another's `state`."""
        self._handed = {track_id: HandedPiece(**piece) for track_id, piece in state}


class _Pieces:
    """The disconnected pieces of a mask, largest first, whole and at every ``stride``-th pixel."""

    def __init__(self, whole: list[Mask], stride: int) -> None:
        self.whole = whole
        self.small = [_thinned(piece, stride) for piece in whole]
        self._stride = stride

    def own_and_places(self, last: HandedPiece | None) -> tuple[int, list[float]]:
        """Which piece is the track's own, −1 if none is in view; each piece's IoU with where the last one was."""
        if last is None:
            return 0, [0.0] * len(self.whole)
        places, owns = (
            [iou(piece, _thinned(rle.decode(mask), self._stride)) for piece in self.small]
            for mask in (last.place, last.own)
        )
        own = int(np.argmax(owns))
        return (own if owns[own] >= places[own] else -1), places


def _thinned(mask: Mask, stride: int) -> Mask:
    return np.ascontiguousarray(mask[::stride, ::stride])
