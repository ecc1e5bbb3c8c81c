"""From a class mask to objects with ids: MinVIS groups the pixels and draws the outlines, VIPMT knows their class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from fewmask.media import rle
from fewmask.media.frames import Frame
from fewmask.media.results import FrameResult
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.pipelines.kinship import Kinship
from fewmask.pipelines.tracks_apart import Mask, ShownTrack, TracksApart
from fewmask.vipmt.instances import InstanceLinker, components

MIN_INSIDE = 0.5
"""Share of a track's mask that must lie in the class mask for it to be an object of the class."""
MIN_INSIDE_PIECE = 0.2
"""The same for what a track of the class held besides its own: one query for both is evidence that they are alike."""
LEAST_KIN, SHARE_WEIGHT = 0.6, 0.6
"""A track is of the class from this sum of its kinship with the supports' objects and its weighted share in the class
mask above `MIN_INSIDE`. Both were chosen on held-out COCO pictures, where kinship tells far better than the class mask
which objects are of the class."""
MOST_TRACKS = 50
"""MinVIS tracks looked at in a frame, best first."""
CLASS_STRIDE = 1000
"""Names of the second class's tracks start after 1,000, and so on: an object taken for two classes is two tracks."""
MIN_COVERED = 0.3
"""Share of a class mask that objects must cover to stand for it; below, the rest of the class mask is shown as well."""

_NOBODY = -1  # within a class mask, not in any object

Overlaps = dict[int, list[int]]
"""By track id, or ~id for pieces shown as that track: pixels of the masks so far, then how many of them lay in each
class mask."""

Explained = dict[int, list[int]]
"""By class number: pixels of its masks so far that its objects covered, and all that no object of another kind did."""


class QueryInstances:
    """MinVIS beside a class segmenter, clip by clip; objects are named after its tracks, pieces below 0.

    Args:
        model: any MinVIS; its classes do not matter.
        outlines: objects have MinVIS's outlines (`outlined`); otherwise they share out the class mask (`separated`).
        kinship: with the supports of the classes; only outlines ask for it.
    """

    def __init__(self, model: MinVIS, *, outlines: bool = False, kinship: Kinship | None = None) -> None:
        self._overlaps: Overlaps | None = {} if outlines else None
        self._kinship = kinship
        self._explained: Explained | None = None if kinship is None else {}
        self._apart = TracksApart()
        self._tracks = model.open_stream(StreamSettings(top_k=MOST_TRACKS, mode="exact"))
        self._pieces = UntrackedPieces()

    def step(self, frames: Sequence[Frame], results: Sequence[FrameResult]) -> list[FrameResult]:
        """Class results of a clip with objects in place of every class mask."""
        masks = [self._apart.step(found) for found in self._tracks.step(frames)]
        if self._overlaps is None:
            return [separated(result, found, self._pieces) for result, found in zip(results, masks, strict=True)]
        shown = []
        for result, found, names in zip(results, masks, self._tracks.names, strict=True):
            if self._kinship is not None:
                self._kinship.see(names)
            shown.append(outlined(result, found, self._overlaps, self._pieces, self._kinship, self._explained))
        return shown

    def state(self) -> dict[str, Any]:
        """What going on needs, as plain JSON values."""
        overlaps = None if self._overlaps is None else [[key, counts] for key, counts in self._overlaps.items()]
        return {
            "tracks": self._tracks.state(),
            "overlaps": overlaps,
            "apart": self._apart.state(),
            "pieces": self._pieces.state(),
            "kinship": None if self._kinship is None else self._kinship.state(),
            "explained": None if self._explained is None else [[key, pair] for key, pair in self._explained.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from another's `state`."""
        self._tracks.restore(state["tracks"])
        self._apart.restore(state["apart"])
        self._pieces.restore(state["pieces"])
        if state["explained"] is not None:
            self._explained = {number: list(pair) for number, pair in state["explained"]}
        if self._kinship is not None:
            self._kinship.restore(state["kinship"])
        if state["overlaps"] is not None:
            self._overlaps = {track_id: list(counts) for track_id, counts in state["overlaps"]}


class UntrackedPieces:
    """Pieces of class masks that no track covers; each is named, below 0, as the piece that it overlaps most was."""

    def __init__(self) -> None:
        self._linkers: list[InstanceLinker] = []

    def name(self, number: int, classes: int, mask: Mask) -> list[tuple[int, Mask]]:
        """The connected pieces of bool [H, W] in class ``number`` of ``classes``, but specks, largest first."""
        if not self._linkers:
            self._linkers = _linkers(classes)
        if not mask.any():
            return []  # where the pieces were last stays known
        return [(-name, piece) for name, piece in self._linkers[number].step(mask)]

    def state(self) -> list[Any]:
        """What going on needs, as plain JSON values."""
        return [linker.state() for linker in self._linkers]

    def restore(self, state: list[Any]) -> None:
        """Go on from another's `state`."""
        self._linkers = _linkers(len(state))
        for linker, its in zip(self._linkers, state, strict=True):
            linker.restore(its)


def _linkers(classes: int) -> list[InstanceLinker]:
    return [InstanceLinker(classes, number) for number in range(classes)]


def separated(result: FrameResult, tracks: Sequence[ShownTrack], pieces: UntrackedPieces) -> FrameResult:
    """One frame's class masks as objects.

    The masks of all objects of a class together are the class mask, but for specks: pixels that no track claims go to
    the nearest object of their component, and components without any track are objects of their own. Names count from
    1 with the first class, from `CLASS_STRIDE` + 1 with the second, ...

    Args:
        result: one row per class, id = class number from 1, with its mask and confidence.
        tracks: ids and masks of MinVIS's objects, best first, each id once.
        pieces: of the frames before; this frame's are added.
    """
    rows: list[tuple[int, int, float, rle.Rle]] = []
    for number, (category, score, mask) in enumerate(
        zip(result.category_ids, result.scores, result.masks, strict=True)
    ):
        if mask is None:
            continue
        owner = _owners(rle.decode(mask), tracks)
        rows += [
            (CLASS_STRIDE * number + int(track_id), category, score, rle.encode(owner == track_id))
            for track_id in np.unique(owner[owner > 0])
        ]
        untracked = pieces.name(number, len(result.masks), owner == _NOBODY)
        rows += [(name, category, score, rle.encode(piece)) for name, piece in untracked]
    return _result_of(result, rows)


def outlined(
    result: FrameResult,
    tracks: Sequence[ShownTrack],
    overlaps: Overlaps,
    pieces: UntrackedPieces,
    kinship: Kinship | None = None,
    explained: Explained | None = None,
) -> FrameResult:
    """One frame's objects of each class, as MinVIS outlines them.

    A track belongs to the class that most of its masks so far lay in, from `MIN_INSIDE` on: the whole past decides, so
    that a coarse class mask in one frame does not lose an object. For a piece that another track of the class held
    `MIN_INSIDE_PIECE` is enough. Where kinship is known it has the first word and the share is weighed against it
    (`LEAST_KIN`, `SHARE_WEIGHT`). Better tracks take pixels first, and one that loses half of its own is a second look
    at the same object.

    A class mask of which the objects cover less than `MIN_COVERED` is not explained by them: what they leave of it is
    shown as well, every piece as an object of its own, but for what is an object of another kind. With kinship the
    whole past decides this, too: where MinVIS does see the class's objects, a class mask without any is a mistake.

    Args:
        result: one row per class, id = class number from 1, with its mask and confidence.
        tracks: ids and masks of MinVIS's objects, best first, each id once.
        overlaps: of the frames before; this frame is added.
        pieces: of the frames before; this frame's are added.
        kinship: of the tracks with the classes.
        explained: of the frames before, this frame is added; None = each frame for itself.
    """
    nothing = np.zeros(result.size, dtype=bool)
    classes = [nothing if mask is None else rle.decode(mask) for mask in result.masks]
    rows: list[tuple[int, int, float, rle.Rle]] = []
    taken = nothing.copy()
    others = [nothing.copy() for _ in classes]  # what is an object, but none of the class
    covered = [0] * len(classes)
    shown: dict[int, int] = {}
    for track_id, mask, held_by in tracks:
        area, free = int(mask.sum()), mask & ~taken
        now = [area, *(int((mask & of_class).sum()) for of_class in classes)]
        account = track_id if held_by is None else ~track_id  # what it does elsewhere says nothing of the piece
        past = overlaps.get(account, [0] * len(now))
        total, *inside = overlaps[account] = [before + added for before, added in zip(past, now, strict=True)]
        kin = [None] * len(inside) if kinship is None else kinship.of(track_id)
        number = _likeliest(inside, total, kin)
        for other, its, pixels in zip(others, kin, inside, strict=True):
            if its is not None and not _of_class(its, pixels / max(total, 1), MIN_INSIDE):
                np.logical_or(other, mask, out=other)
        if number is None or 2 * int(free.sum()) < area:
            continue
        piece = held_by is not None and shown.get(held_by) == number
        if not _of_class(kin[number], inside[number] / total, MIN_INSIDE_PIECE if piece else MIN_INSIDE):
            continue
        shown[track_id] = number
        taken |= free
        covered[number] += int((free & classes[number]).sum())
        rows.append(
            (CLASS_STRIDE * number + track_id, result.category_ids[number], result.scores[number], rle.encode(free))
        )
    for number, of_class in enumerate(classes):
        rest = of_class & ~taken & ~others[number]
        its_own = [0, 0] if explained is None else explained.setdefault(number, [0, 0])
        its_own[0] += covered[number]
        its_own[1] += covered[number] + int(rest.sum())
        if its_own[0] < MIN_COVERED * its_own[1]:
            untracked = pieces.name(number, len(classes), rest)
            kind = result.category_ids[number], result.scores[number]
            rows += [(name, *kind, rle.encode(piece)) for name, piece in untracked]
    return _result_of(result, rows)


def _of_class(kinship: float | None, share: float, least: float) -> bool:
    """Is a track with this share in the class mask of the class, where ``least`` of it were enough without kinship?"""
    if kinship is None:
        return share >= least
    return kinship + SHARE_WEIGHT * (share - least) >= LEAST_KIN


def _likeliest(inside: Sequence[int], total: int, kinship: Sequence[float | None]) -> int | None:
    """The class that a track would be of: by its share in the class mask, and by kinship where that is known."""
    if not inside or not total:
        return None
    return int(np.argmax([pixels / total + (kin or 0.0) for pixels, kin in zip(inside, kinship, strict=True)]))


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


def _owners(inside: Mask, tracks: Sequence[ShownTrack]) -> npt.NDArray[np.int64]:
    """The track id of every pixel of a class mask bool [H, W], `_NOBODY` where it is in no object, 0 outside."""
    owner = np.where(inside, _NOBODY, 0).astype(np.int64)
    for track_id, mask, _ in tracks:
        if (mask & inside).sum() >= MIN_INSIDE * mask.sum():
            owner[mask & (owner == _NOBODY)] = track_id
    for component in components(inside):
        claimed = component & (owner != _NOBODY)
        if claimed.any():
            rows, columns = distance_transform_edt(~claimed, return_distances=False, return_indices=True)
            free = component & ~claimed
            owner[free] = owner[rows[free], columns[free]]
    return owner
