"""What the tracks are after some corrections: pieces of the run's own tracks, and masks that were drawn.

Nothing here holds the run's masks. A corrected track is a list of pieces, each of which says that from one frame to
another its mask is that of a track of the run, or a drawn one. Every correction is a rearrangement of pieces, so its
cost does not depend on the length of the video.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fewmask.corrections.edits import (
    AddTrack,
    Change,
    Confirm,
    Delete,
    Merge,
    RenameClass,
    SetClass,
    SetMask,
    Split,
    Swap,
)
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.results import Size
from fewmask.media.rle import Rle


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames ``first`` to ``last``, both included, of the run's track ``source``, or a drawn mask of one frame."""

    first: int
    last: int
    source: int | None
    drawn: str | None = None
    """Counts of the drawn mask, where ``source`` is None."""


@dataclass(frozen=True, slots=True)
class CorrectedTrack:
    """An object: its id, its class and its pieces; where pieces overlap, its mask is their union."""

    track_id: int
    name: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Corrected:
    """All tracks after some corrections.

    Attributes:
        size: (height, width) of the masks.
        length: frames of the video.
        tracks: by id, in the order of the run's results; new ones at the end.
        next_id: of the next new track; ids are never used twice.
        checked: stretches (first, last) that a person fixed or confirmed, ascending and apart.
    """

    size: Size
    length: int
    tracks: Mapping[int, CorrectedTrack]
    next_id: int
    checked: tuple[tuple[int, int], ...] = field(default=())

    @classmethod
    def untouched(cls, size: Size, length: int, tracks: Iterable[tuple[int, str]]) -> "Corrected":
        """The run as it is; ``tracks`` are ids and class names."""
        whole = {
            track_id: CorrectedTrack(track_id, name, (Piece(0, length - 1, track_id),)) for track_id, name in tracks
        }
        return cls(size, length, whole, max(whole, default=0) + 1)

    def after(self, change: Change) -> "Corrected":
        """The tracks once ``change`` is made.

        Raises:
            DatasetError: it speaks of a track, class or frame that there is not, or changes nothing.
        """
        match change:
            case RenameClass():
                return self._rename_class(change.old, change.new)
            case SetClass():
                return self._with(replace(self._track(change.track), name=change.name))
            case Merge():
                return self._merge(change.into, change.other)
            case Split():
                return self._split(change.track, change.frame)
            case Swap():
                return self._swap(change.first, change.second, change.frame)
            case Delete():
                return self._delete(change)
            case SetMask():
                return self._set_mask(change)
            case AddTrack():
                return self._add(change)
            case Confirm():
                return self._confirm(change)

    def _track(self, track_id: int) -> CorrectedTrack:
        if track_id not in self.tracks:
            raise DatasetError(f"there is no track {track_id}; it may have been merged or deleted")
        return self.tracks[track_id]

    def _inside(self, frame: int) -> int:
        if not 0 <= frame < self.length:
            raise DatasetError(f"there is no frame {frame}; the video has {self.length}, counted from 0")
        return frame

    def _with(self, *changed: CorrectedTrack) -> "Corrected":
        """These tracks instead of, or beside, those of the same ids; tracks without pieces go."""
        tracks = {**self.tracks, **{track.track_id: track for track in changed}}
        kept = {track_id: track for track_id, track in tracks.items() if track.pieces}
        return replace(self, tracks=kept, next_id=max(self.next_id, *(track.track_id + 1 for track in changed)))

    def _rename_class(self, old: str, new: str) -> "Corrected":
        changed = [replace(track, name=new) for track in self.tracks.values() if track.name == old]
        if not changed:
            raise DatasetError(f"there is no track of the class {old!r}")
        return self._with(*changed)

    def _merge(self, into: int, other: int) -> "Corrected":
        if into == other:
            raise DatasetError(f"track {into} cannot be merged with itself")
        kept, gone = self._track(into), self._track(other)
        return self._with(replace(kept, pieces=kept.pieces + gone.pieces), replace(gone, pieces=()))

    def _split(self, track_id: int, frame: int) -> "Corrected":
        track = self._track(track_id)
        before, after = _part(track.pieces, 0, frame - 1), _part(track.pieces, self._inside(frame), self.length - 1)
        if not before or not after:
            raise DatasetError(f"track {track_id} has nothing on one side of frame {frame}; split it elsewhere")
        return self._with(replace(track, pieces=before), CorrectedTrack(self.next_id, track.name, after))

    def _swap(self, first: int, second: int, frame: int) -> "Corrected":
        if first == second:
            raise DatasetError(f"track {first} cannot be swapped with itself")
        one, two, start = self._track(first), self._track(second), self._inside(frame)
        before = [_part(track.pieces, 0, start - 1) for track in (one, two)]
        after = [_part(track.pieces, start, self.length - 1) for track in (one, two)]
        return self._with(replace(one, pieces=before[0] + after[1]), replace(two, pieces=before[1] + after[0]))

    def _delete(self, change: Delete) -> "Corrected":
        track = self._track(change.track)
        first = 0 if change.first is None else self._inside(change.first)
        last = self.length - 1 if change.last is None else self._inside(change.last)
        if first > last:
            raise DatasetError(f"frame {first} comes after frame {last}; give the earlier one first")
        return self._with(replace(track, pieces=_without(track.pieces, first, last)))

    def _set_mask(self, change: SetMask) -> "Corrected":
        track, frame = self._track(change.track), self._inside(change.frame)
        rest = _without(track.pieces, frame, frame)
        drawn = _drawn(change.counts, frame, self.size)
        if not rest and not drawn:
            raise DatasetError(f"track {change.track} has no other mask; delete the track instead")
        return self._with(replace(track, pieces=rest + drawn))._check((frame, frame))

    def _add(self, change: AddTrack) -> "Corrected":
        frame = self._inside(change.frame)
        drawn = _drawn(change.counts, frame, self.size)
        if not drawn:
            raise DatasetError(f"frame {frame}: the mask of the new object is empty; draw it first")
        return self._with(CorrectedTrack(self.next_id, change.name, drawn))._check((frame, frame))

    def _confirm(self, change: Confirm) -> "Corrected":
        first, last = self._inside(change.first), self._inside(change.last)
        if first > last:
            raise DatasetError(f"frame {first} comes after frame {last}; give the earlier one first")
        if change.right:
            return self._check((first, last))
        left = [(a, min(b, first - 1)) for a, b in self.checked] + [(max(a, last + 1), b) for a, b in self.checked]
        return replace(self, checked=_joined(pair for pair in left if pair[0] <= pair[1]))

    def _check(self, stretch: tuple[int, int]) -> "Corrected":
        return replace(self, checked=_joined([*self.checked, stretch]))


def _part(pieces: Iterable[Piece], first: int, last: int) -> tuple[Piece, ...]:
    """What of the pieces lies in frames ``first`` to ``last``."""
    cut = (replace(piece, first=max(piece.first, first), last=min(piece.last, last)) for piece in pieces)
    return tuple(piece for piece in cut if piece.first <= piece.last)


def _without(pieces: tuple[Piece, ...], first: int, last: int) -> tuple[Piece, ...]:
    """The pieces with frames ``first`` to ``last`` cut out."""
    return _part(pieces, 0, first - 1) + tuple(
        replace(piece, first=max(piece.first, last + 1)) for piece in pieces if piece.last > last
    )


def _drawn(counts: str | None, frame: int, size: Size) -> tuple[Piece, ...]:
    """A drawn mask as a piece; nothing for None and for a mask without a pixel.

    Raises:
        DatasetError: the run lengths are not those of a mask of this size.
    """
    if counts is None or rle.area(checked_mask(counts, size)) == 0:
        return ()
    return (Piece(frame, frame, None, counts),)


def checked_mask(counts: str, size: Size) -> Rle:
    """Run lengths from outside as a mask of ``size``.

    Raises:
        DatasetError: they do not cover exactly its pixels.
    """
    covered = run = shift = 0
    runs: list[int] = []
    for letter in counts:  # COCO's own coding: five bits a letter, lowest first, differences from the run before last
        bits = ord(letter) - 48
        run |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                run -= 1 << shift
            value = run + (runs[-2] if len(runs) > 2 else 0)
            if value < 0:
                raise DatasetError("the mask's run lengths are damaged (a negative run); draw it again")
            runs.append(value)
            covered, run, shift = covered + value, 0, 0
        elif shift > 40:
            raise DatasetError("the mask's run lengths are damaged (an endless run); draw it again")
    if shift or covered != size[0] * size[1]:
        raise DatasetError(f"the mask covers {covered} pixels, the video has {size[0]}x{size[1]}; draw it again")
    return {"size": [size[0], size[1]], "counts": counts}


def _joined(stretches: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ascending, with touching ones made one."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(stretches):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return tuple(joined)
