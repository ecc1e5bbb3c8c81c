"""Track ids as users see them: 1, 2, ... in order of appearance among the shown tracks, then all others.

Methods name their tracks as suits them (queries, classes, components). Whatever leaves a room for a file or a picture
passes here, so that one object has one id in all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from fewmask.media.results import FrameResult


def first_frames(results: Iterable[FrameResult]) -> dict[int, int]:
    """Track id -> index of the first frame in which it has a mask; tracks without any mask are not in it."""
    first: dict[int, int] = {}
    for result in results:
        for track_id, mask in zip(result.track_ids, result.masks, strict=True):
            if mask is not None:
                first.setdefault(track_id, result.index)
    return first


def final_ids(
    names: Sequence[int],
    first: Mapping[int, int],
    tiers: Sequence[int],
    given: Mapping[int, int] | None = None,
) -> list[int]:
    """The id of every track.

    Args:
        names: the method's own name of each track, best track first; one object with several classes has several rows.
        first: by name, the first frame with a mask; see `first_frames`.
        tiers: of each track: 0 = shown, then less and less so. Ids run through one tier after another, in each in
            order of appearance, at the same frame the better track first; tracks without any mask come last.
        given: ids by name that have been seen already, as in the picture of a live source. They stay, and the others
            count on from there.

    Returns:
        one id per row, all different
    """
    ids = [0] * len(names)
    left = dict(given or {})
    fresh = count(1 + max(left.values(), default=0))
    for row, name in enumerate(names):
        if name in left:
            ids[row] = left.pop(name)
    never = 1 + max(first.values(), default=0)
    for row in sorted(range(len(names)), key=lambda row: (tiers[row], first.get(names[row], never), row)):
        if ids[row] == 0:
            ids[row] = next(fresh)
    return ids


def with_ids(result: FrameResult, ids: Mapping[int, int]) -> FrameResult:
    """The tracks of a frame that are in ``ids``, named so."""
    kept = result.rows(row for row, name in enumerate(result.track_ids) if name in ids)
    return FrameResult(
        kept.index,
        kept.size,
        tuple(ids[name] for name in kept.track_ids),
        kept.category_ids,
        kept.scores,
        kept.masks,
        kept.time_s,
    )


class AppearanceIds:
    """Ids while a video runs: 1, 2, ... as tracks first have a mask; one that was given stays.

    Attributes:
        given: the ids so far, by the method's own names.
    """

    def __init__(self) -> None:
        self.given: dict[int, int] = {}

    def number(self, result: FrameResult) -> FrameResult:
        """The frame's tracks that have appeared by now, here or in an earlier frame, at their ids."""
        for name, mask in zip(result.track_ids, result.masks, strict=True):
            if mask is not None:
                self.given.setdefault(name, len(self.given) + 1)
        return with_ids(result, self.given)
