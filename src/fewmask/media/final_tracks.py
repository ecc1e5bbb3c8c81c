"""Which tracks a video has, once its last frame is known: ids, classes and scores, best first."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fewmask.media.final_ids import final_ids
from fewmask.media.results import FrameResult, Track
from fewmask.media.score_votes import ScoreVotes

MOST_SHOWN = 255  # tracks that a palette PNG can hold


@dataclass(frozen=True)
class FinalTracks:
    """The ranking of a video's tracks.

    Attributes:
        tracks: id, final class and score of each, best first; without masks, which are in the frame results. Ids are
            for users after `numbered`.
        rows: the id that each has there; one row may be several tracks, of several classes.
        frame_scores: a frame's own classes and scores stand beside the final ones, else they are replaced by them.
        weights: sum of each track's scores over its frames, where they are results of their own.
        joined: ids in the frame results that turned out to be others, (later, first), which are never in one frame.
    """

    tracks: tuple[Track, ...]
    rows: tuple[int, ...]
    frame_scores: bool = False
    weights: tuple[float, ...] | None = None
    joined: tuple[tuple[int, int], ...] = ()

    @classmethod
    def gathered(cls, results: Iterable[FrameResult]) -> "FinalTracks":
        """Of results that were final when they came: every track that ever has a mask.

        First those that are the most certain over the most frames; the class of a track is the one with the largest sum
        of scores, its score the mean over the frames where it has a mask.
        """
        votes: dict[int, ScoreVotes] = {}
        for result in results:
            rows = zip(result.track_ids, result.category_ids, result.scores, result.masks, strict=True)
            for track_id, category_id, score, mask in rows:
                if mask is not None:
                    votes.setdefault(track_id, ScoreVotes()).add(category_id, score)
        ids = tuple(sorted(votes, key=lambda track_id: (-votes[track_id].total, track_id)))
        tracks = tuple(Track(track_id, votes[track_id].category(), votes[track_id].mean, ()) for track_id in ids)
        weights = tuple(votes[track_id].total for track_id in ids)
        return cls(tracks, ids, frame_scores=True, weights=weights)

    def shown(self, min_score: float, min_share: float = 0.0) -> "FinalTracks":
        """Those for people: each row once, at its best, and no more than a palette holds.

        Args:
            min_score: of a track.
            min_share: of the weight of the weightiest track of its class; raising it hides what flickers up.
        """
        kept = self._shown(min_score, min_share)
        return replace(
            self,
            tracks=tuple(self.tracks[place] for place in kept),
            rows=tuple(self.rows[place] for place in kept),
            weights=None,
        )

    def numbered(
        self,
        first: Mapping[int, int],
        min_score: float = -math.inf,
        given: Mapping[int, int] | None = None,
        hidden: Collection[int] = (),
        *,
        min_share: float = 0.0,
    ) -> "FinalTracks":
        """The same with ids for users: 1, 2, ... in order of appearance among those shown, then the others.

        Args:
            first: by row, the first frame with a mask; see `fewmask.media.final_ids.first_frames`.
            min_score, min_share: as in `shown`.
            given: ids by row that have been seen already, in the picture of a live source.
            hidden: rows that are shown, but not in the overlay; their ids come after those that are.
        """
        shown = set(self._shown(min_score, min_share))
        tiers = [(0 if row not in hidden else 1) if place in shown else 2 for place, row in enumerate(self.rows)]
        ids = final_ids(self.rows, first, tiers, given)
        tracks = tuple(replace(track, track_id=track_id) for track, track_id in zip(self.tracks, ids, strict=True))
        return replace(self, tracks=tracks)

    def _shown(self, min_score: float, min_share: float) -> list[int]:
        weights = self.weights or (0.0,) * len(self.rows)
        most: dict[int, float] = {}
        for track, weight in zip(self.tracks, weights, strict=True):
            most[track.category_id] = max(weight, most.get(track.category_id, 0.0))
        return [
            place for place, (track, row) in enumerate(zip(self.tracks, self.rows, strict=True))
            if track.score >= min_score and row not in self.rows[:place]
            and weights[place] >= min_share * most[track.category_id]
        ][:MOST_SHOWN]  # fmt: skip

    def named(self, result: FrameResult) -> FrameResult:
        """A frame with all its rows, those of `joined` ids under the ids that they turned out to be."""
        names = dict(self.joined)
        if not names.keys() & set(result.track_ids):
            return result
        return replace(result, track_ids=tuple(names.get(track_id, track_id) for track_id in result.track_ids))

    def of(self, result: FrameResult) -> FrameResult:
        """A frame with these tracks alone, under their ids."""
        result = self.named(result)
        found = {row_id: row for row, row_id in enumerate(result.track_ids)}
        pairs = [(track, found.get(row_id)) for track, row_id in zip(self.tracks, self.rows, strict=True)]
        if self.frame_scores:
            present = sorted(((track, row) for track, row in pairs if row is not None), key=lambda pair: pair[1])
            kept = result.rows(row for _, row in present)
            ids = tuple(track.track_id for track, _ in present)
            return FrameResult(
                kept.index, kept.size, ids, kept.category_ids, kept.scores, kept.masks, kept.time_s
            )  # fmt: skip
        return FrameResult(
            result.index,
            result.size,
            tuple(track.track_id for track in self.tracks),
            tuple(track.category_id for track in self.tracks),
            tuple(track.score for track in self.tracks),
            tuple(None if row is None else result.masks[row] for _, row in pairs),
            result.time_s,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values, as `from_json` takes them."""
        rows = zip(self.tracks, self.rows, strict=True)
        tracks = [[track.track_id, row, track.category_id, track.score] for track, row in rows]
        return {"tracks": tracks, "frame_scores": self.frame_scores, "joined": [list(pair) for pair in self.joined]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "FinalTracks":
        """From `as_json`."""
        return cls(
            tuple(Track(track_id, category_id, score, ()) for track_id, _, category_id, score in value["tracks"]),
            tuple(row for _, row, _, _ in value["tracks"]),
            value["frame_scores"],
            joined=tuple((later, first) for later, first in value.get("joined", ())),
        )
