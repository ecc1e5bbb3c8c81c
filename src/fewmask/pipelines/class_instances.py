"""From a class mask to objects with ids: MinVIS groups the pixels and draws the outlines, VIPMT knows their class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from fewmask.media import rle
from fewmask.media.frames import Frame
from fewmask.media.results import FrameResult
from fewmask.minvis.stream import MinVIS, StreamSettings
from fewmask.minvis.tracker import QueryTracker
from fewmask.vipmt.instances import components

MIN_INSIDE = 0.5
"""Share of a track's mask that must lie in the class mask for it to be an object of the class."""
MIN_SCORE = 0.2
"""Mean score so far from which a MinVIS track counts; lower ones are mostly parts and background."""
MOST_TRACKS = 50
"""MinVIS tracks looked at in a frame, best first."""
CLASS_STRIDE = 1000
"""Ids of the second class start after 1,000, and so on: an object taken for two classes is two tracks."""
REST = 999
"""Id, within a class, of components that no track covers."""
MIN_COVERED = 0.3
"""Share of a class mask that objects must cover to stand for it; below, the rest of the class mask is shown as well."""

SAME_OBJECT = 0.5
"""IoU from which a piece of one mask and another mask are the same object."""

Overlaps = dict[int, list[int]]
"""By track id: pixels of its masks so far, then how many of them lay in the mask of each class."""
MIN_OVERLAP = 0.1
"""IoU with its last place from which a piece that was another's still is, though nobody else outlines it now."""
Handed = dict[int, tuple[int, rle.Rle, rle.Rle]]
"""By track id: whose the piece was that it held besides its own object, and where that piece and its own were last."""


class QueryInstances:
    """MinVIS beside a class segmenter, clip by clip; ids are those of its tracks.

    Args:
        model: any MinVIS; its classes do not matter.
        outlines: objects have MinVIS's outlines (`outlined`); otherwise they share out the class mask (`separated`).
    """

    def __init__(self, model: MinVIS, *, outlines: bool = False) -> None:
        self._model = model
        self._overlaps: Overlaps | None = {} if outlines else None
        self._handed: Handed = {}
        self._tracker = QueryTracker()

    def step(self, frames: Sequence[Frame], results: Sequence[FrameResult]) -> list[FrameResult]:
        """Class results of a clip with objects in place of every class mask."""
        settings = StreamSettings(top_k=MOST_TRACKS, mode="exact", batch=len(frames))
        tracks = self._model.track(frames, self._tracker, settings)
        return [
            separated(result, found, self._handed)
            if self._overlaps is None
            else outlined(result, found, self._overlaps, self._handed)
            for result, found in zip(results, tracks, strict=True)
        ]

    def state(self) -> dict[str, Any]:
        """What going on needs, as plain JSON values."""
        overlaps = None if self._overlaps is None else sorted(self._overlaps.items())
        handed = [[holder, *rest] for holder, rest in self._handed.items()]
        return {"tracker": self._tracker.state(), "overlaps": overlaps, "handed": handed}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from another's `state`."""
        self._tracker = QueryTracker.from_state(state["tracker"])
        self._handed = {holder: (owner, place, own) for holder, owner, place, own in state["handed"]}
        if state["overlaps"] is not None:
            self._overlaps = {int(track_id): list(counts) for track_id, counts in state["overlaps"]}


def separated(result: FrameResult, tracks: FrameResult, handed: Handed) -> FrameResult:
    """One frame's class masks as objects.

    The masks of all objects of a class together are the class mask: pixels that no track claims go to the nearest
    object of their component, and components without any track share the id `REST`. Ids count from 0 with the first
    class, from `CLASS_STRIDE` with the second, ...

    Args:
        result: one row per class, id = class number from 1, with its mask and confidence.
        tracks: one row per MinVIS track, best first.
        handed: of the frames before; this frame may add to it.
    """
    candidates = _candidates(tracks, handed)
    rows: list[tuple[int, int, float, rle.Rle]] = []
    for number, (category, score, mask) in enumerate(
        zip(result.category_ids, result.scores, result.masks, strict=True)
    ):
        if mask is None:
            continue
        owner = _owners(rle.decode(mask), candidates)
        rows += [
            (CLASS_STRIDE * number + int(track_id), category, score, rle.encode(owner == track_id))
            for track_id in np.unique(owner[owner > 0])
        ]
    return _result_of(result, rows)


def outlined(result: FrameResult, tracks: FrameResult, overlaps: Overlaps, handed: Handed) -> FrameResult:
    """One frame's objects of each class, as MinVIS outlines them.

    A track belongs to the class that most of its masks so far lay in, from `MIN_INSIDE` on: the whole past decides, so
    that a coarse class mask in one frame does not lose an object. Better tracks take pixels first, and one that loses
    half of its own is a second look at the same object. A class mask of which the objects cover less than `MIN_COVERED`
    is not explained by them: what they leave of it is shown as `REST`.

    Args:
        result: one row per class, id = class number from 1, with its mask and confidence.
        tracks: one row per MinVIS track, best first.
        overlaps: of the frames before; this frame is added.
        handed: of the frames before; this frame may add to it.
    """
    nothing = np.zeros(result.size, dtype=bool)
    classes = [nothing if mask is None else rle.decode(mask) for mask in result.masks]
    rows: list[tuple[int, int, float, rle.Rle]] = []
    taken = nothing.copy()
    covered = np.zeros(len(classes))
    for candidate in _candidates(tracks, handed):
        mask, track_id = candidate.mask, candidate.found_by
        area, free = int(mask.sum()), mask & ~taken
        now = [area, *(int((mask & of_class).sum()) for of_class in classes)]
        past = overlaps.get(track_id, [0] * len(now))
        total, *inside = overlaps[track_id] = [before + added for before, added in zip(past, now, strict=True)]
        number = int(np.argmax(inside)) if inside else 0
        if not inside or inside[number] < MIN_INSIDE * total or 2 * int(free.sum()) < area:
            continue
        identity = CLASS_STRIDE * number + candidate.track_id
        if any(row[0] == identity for row in rows):  # a piece has its id already
            continue
        taken |= free
        covered[number] += int((free & classes[number]).sum())
        rows.append((identity, result.category_ids[number], result.scores[number], rle.encode(free)))
    for number, of_class in enumerate(classes):
        if covered[number] < MIN_COVERED * of_class.sum():
            rest = rle.encode(of_class & ~taken)
            rows.append((CLASS_STRIDE * number + REST, result.category_ids[number], result.scores[number], rest))
    return _result_of(result, rows)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A mask that may be shown.

    Attributes:
        track_id: whose it is shown as.
        mask: bool [H, W].
        found_by: the track that has it; another than ``track_id`` for a piece that was handed over.
    """

    track_id: int
    mask: npt.NDArray[np.bool_]
    found_by: int


def _candidates(tracks: FrameResult, handed: Handed) -> list[_Candidate]:
    """The tracks that count, best first; pieces of one that are the whole of another are shown as that other.

    One query may hold two objects that lie apart, as a person and a dog, where others outline each of them alone. Its
    own is the piece where its own was when it last gave one away, else the largest. Pieces that nobody else has are
    kept, for occlusion may have cut them off. The id that the first piece got stays the one that a track hands pieces
    over to, whoever outlines them later, and so does a piece that nobody outlines where the last one was.
    """
    whole = [
        (track_id, rle.decode(mask))
        for track_id, score, mask in zip(tracks.track_ids, tracks.scores, tracks.masks, strict=True)
        if mask is not None and score >= MIN_SCORE
    ]
    candidates = []
    for track_id, mask in whole:
        others = [(other, its) for other, its in whole if other != track_id]
        given = _pieces_of_others(track_id, components(mask), others, handed)
        kept = mask
        for piece in given:
            kept = kept & ~piece.mask
        if given:
            handed[track_id] = given[0].track_id, rle.encode(given[0].mask), rle.encode(kept)
        candidates += [_Candidate(track_id, kept, track_id), *given]
    return candidates


def _pieces_of_others(
    track_id: int,
    pieces: Sequence[npt.NDArray[np.bool_]],
    others: Sequence[tuple[int, npt.NDArray[np.bool_]]],
    handed: Handed,
) -> list[_Candidate]:
    """The pieces of a track's mask, largest first, that belong to others; the one with the remembered id first."""
    if len(pieces) < 2:
        return []
    known = handed.get(track_id)
    own, places = 0, [0.0] * len(pieces)
    if known is not None:
        place, own_place = rle.decode(known[1]), rle.decode(known[2])
        own = int(np.argmax([_iou(piece, own_place) for piece in pieces]))
        places = [_iou(piece, place) for piece in pieces]
    given: list[_Candidate] = []
    for number in sorted(range(len(pieces)), key=lambda number: -places[number]):
        other = next((other for other, its in others if _iou(its, pieces[number]) >= SAME_OBJECT), None)
        if number == own or (other is None and places[number] < MIN_OVERLAP):
            continue
        owner = known[0] if known is not None and not given else other
        if owner is not None:
            given.append(_Candidate(owner, pieces[number], track_id))
    return given


def _iou(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    both = int((first & second).sum())
    return both / (int(first.sum()) + int(second.sum()) - both)


def _result_of(result: FrameResult, rows: Sequence[tuple[int, int, float, rle.Rle]]) -> FrameResult:
    """The frame with rows of id, category, score and mask."""
    return FrameResult(
        result.index,
        result.size,
        tuple(row[0] for row in rows),
        tuple(row[1] for row in rows),
        tuple(row[2] for row in rows),
        tuple(row[3] for row in rows),
        result.time_s,
    )


def _owners(inside: npt.NDArray[np.bool_], candidates: Sequence[_Candidate]) -> npt.NDArray[np.int64]:
    """The track id of every pixel of a class mask bool [H, W], `REST` where it is nobody's, 0 outside."""
    owner = np.where(inside, REST, 0).astype(np.int64)
    for candidate in candidates:
        if (candidate.mask & inside).sum() >= MIN_INSIDE * candidate.mask.sum():
            owner[candidate.mask & (owner == REST)] = candidate.track_id
    for component in components(inside):
        claimed = component & (owner != REST)
        if claimed.any():
            rows, columns = distance_transform_edt(~claimed, return_distances=False, return_indices=True)
            free = component & ~claimed
            owner[free] = owner[rows[free], columns[free]]
    return owner
