"""Objects followed by what they look like and where they are: tracks are born, rest while unseen, return, and end.

The paper's rule (`fewmask.minvis.tracker`) has as many tracks as queries and must give each of them a query in every
frame, so that the slot of an object that left takes over a wall. It also trusts the embedding alone. With a segmenter
whose embedding was trained to be an identity, this tracker does better:

1. Queries go to tracks of the last frames by embedding and mask overlap together (Hungarian), unsure ones included.
2. What is left of them goes to resting tracks by embedding alone: an object that returns within the memory is itself.
3. What is still left and sure enough is a new track.
4. What comes back, comes back in part: its first views are like nothing known. While a track is young, its mean look is
   compared with those of tracks that ended before it began; if it is one of them, it takes that id (`joined`).

State is bounded, but for two numbers per return: at most `MOST` tracks, each two embeddings, a mask and a few sums.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from fewmask.minvis.matching import Array, as_numpy
from fewmask.minvis.tracker import RankedPairs, class_probability, rank_pairs

MOST = 400
_KNOWN = 3  # frames in which a track must have been seen to be come back to
_PRIOR = 4  # frames of confidence 0 that a new track starts with, once there were so many


@dataclass(frozen=True)
class LinkSettings:
    """When a query is an object that is known, and when it is a new one. Similarities and scores lie in [0, 1].

    Attributes:
        least_score: queries below it are nothing.
        birth_score: what is not known yet needs this score to become a track.
        overlap_weight: of the mask's IoU with the track's last mask, against the cosine of embeddings.
        follow: least weighted similarity to follow a track from one frame to the next.
        recent: frames after which a track's last mask says nothing any more.
        recall: least cosine to be taken for a resting track.
        memory: frames after which an unseen track ends.
        inertia: how much of a track's embedding stays when a new one comes in.
        double: a query lying in an already followed track's mask by this share is no new object.
        young: frames from its first in which a track may still turn out to be a resting one; 0 for never.
    """

    least_score: float = 0.05
    birth_score: float = 0.2
    overlap_weight: float = 0.5
    follow: float = 0.35
    recent: int = 8
    recall: float = 0.75
    memory: int = 150
    inertia: float = 0.8
    double: float = 0.7
    young: int = 30


@dataclass
class _Tracked:
    track_id: int
    embedding: npt.NDArray[np.float32]
    look: npt.NDArray[np.float32]  # sum of the embeddings, weighted by score
    mask: npt.NDArray[np.bool_]  # [h, w], coarse
    votes: dict[int, float]
    first: int
    last: int
    seen: int
    confidence: float  # sum

    def take(self, later: "_Tracked") -> None:
        """Go on as the track that turned out to be this one."""
        self.embedding, self.mask, self.last = later.embedding, later.mask, later.last
        self.look = self.look + later.look
        for name, votes in later.votes.items():
            self.votes[name] = self.votes.get(name, 0.0) + votes
        self.seen += later.seen
        self.confidence += later.confidence


class ObjectTracker:
    """Tracks with lives. Rows of `ids`, `scores` and `step`'s answer belong together; they change with every frame.

    Args:
        settings: when a query is a known object.
    """

    def __init__(self, settings: LinkSettings | None = None) -> None:
        self.settings = settings or LinkSettings()
        self.frames = 0
        self._born = 0
        self._classes = 1
        self._tracks: list[_Tracked] = []
        self.joined: dict[int, int] = {}
        """Ids that turned out to be those of tracks before them, which never were in one frame with them."""

    def step(
        self, class_logits: Array, embeddings: Array, mask_quality: Array | None = None, masks: Array | None = None
    ) -> npt.NDArray[np.int64]:
        """Take in one frame.

        Args:
            class_logits: [Q, K+1].
            embeddings: [Q, C].
            mask_quality: [Q] in [0, 1]; scores are multiplied by it.
            masks: bool [Q, h, w], coarse ones do; without them, embeddings decide alone.

        Returns:
            int64 [tracks]: this frame's query of each track, -1 where it is not seen.
        """
        s = self.settings
        probability = class_probability(as_numpy(class_logits))
        self._classes = probability.shape[1]
        score = probability.max(1) * (1.0 if mask_quality is None else as_numpy(mask_quality).astype(np.float64))
        label = probability.argmax(1)
        vectors = _unit(as_numpy(embeddings).astype(np.float32))
        bits = np.zeros((len(vectors), 1, 1), bool) if masks is None else as_numpy(masks).astype(bool)
        queries = np.flatnonzero(score >= s.least_score)
        recent = [i for i, track in enumerate(self._tracks) if self.frames - track.last <= s.recent]
        taken: dict[int, int] = {}
        self._follow(recent, queries, vectors, bits, taken)
        left = [q for q in queries.tolist() if q not in set(taken.values()) and score[q] >= s.birth_score]
        # A part or a double of what is followed already is no object of its own.
        left = [q for q in left if not self._covered(q, list(taken.values()), bits)]
        resting = [i for i, track in enumerate(self._tracks) if i not in taken and self.frames - track.last <= s.memory]
        self._recall(resting, np.array(left, dtype=np.int64), vectors, taken)
        known = set(taken.values())
        for row, followed in taken.items():
            self._update(self._tracks[row], followed, vectors, bits, score, label)
        born = []
        for query in sorted((q for q in left if q not in known), key=lambda q: -score[q]):
            self._born += 1
            new = _Tracked(
                self._born,
                vectors[query],
                np.zeros_like(vectors[query]),
                bits[query],
                {},
                self.frames,
                self.frames,
                0,
                0.0,
            )
            self._update(new, query, vectors, bits, score, label)
            born.append((new, int(query)))
        order = [taken.get(i, -1) for i in range(len(self._tracks))] + [query for _, query in born]
        self._tracks += [track for track, _ in born]
        order = self._join(order)
        self.frames += 1
        return self._forget(np.array(order, dtype=np.int64))

    def _follow(
        self, tracks: list[int], queries: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32],
        bits: npt.NDArray[np.bool_], taken: dict[int, int],
    ) -> None:  # fmt: skip
        if not tracks or not len(queries):
            return
        s = self.settings
        cosine = np.stack([self._tracks[i].embedding for i in tracks]) @ vectors[queries].T
        overlap = _iou(np.stack([self._tracks[i].mask for i in tracks]), bits[queries])
        similarity = (1 - s.overlap_weight) * np.clip(cosine, 0, 1) + s.overlap_weight * overlap
        for row, column in zip(*linear_sum_assignment(similarity, maximize=True), strict=True):
            if similarity[row, column] >= s.follow:
                taken[tracks[row]] = int(queries[column])

    def _recall(
        self, tracks: list[int], queries: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32], taken: dict[int, int]
    ) -> None:
        if not tracks or not len(queries):
            return
        cosine = np.stack([self._tracks[i].embedding for i in tracks]) @ vectors[queries].T
        for row, column in zip(*linear_sum_assignment(cosine, maximize=True), strict=True):
            if cosine[row, column] >= self.settings.recall:
                taken[tracks[row]] = int(queries[column])

    def _join(self, order: list[int]) -> list[int]:
        """Young tracks become the resting ones that they turn out to be; the order of those that are left."""
        s = self.settings
        young = [i for i, t in enumerate(self._tracks) if order[i] >= 0 and 0 < self.frames - t.first < s.young]
        resting = [i for i, t in enumerate(self._tracks) if order[i] < 0 and t.seen >= _KNOWN]
        if not young or not resting:
            return order
        looks = [_unit(np.stack([self._tracks[i].look for i in rows])) for rows in (resting, young)]
        last = np.array([self._tracks[i].last for i in resting])[:, None]
        first = np.array([self._tracks[i].first for i in young])
        cosine = np.where((last < first) & (first - last <= s.memory), looks[0] @ looks[1].T, -1.0)
        gone: set[int] = set()
        for row, column in zip(*linear_sum_assignment(cosine, maximize=True), strict=True):
            if cosine[row, column] >= s.recall:
                old, new = resting[row], young[column]
                self._tracks[old].take(self._tracks[new])
                self._rename(self._tracks[new].track_id, self._tracks[old].track_id)
                order[old] = order[new]
                gone.add(new)
        self._tracks = [track for i, track in enumerate(self._tracks) if i not in gone]
        return [query for i, query in enumerate(order) if i not in gone]

    def _rename(self, later: int, first: int) -> None:
        self.joined = {key: first if name == later else name for key, name in self.joined.items()} | {later: first}

    def _covered(self, query: int, followed: list[int], bits: npt.NDArray[np.bool_]) -> bool:
        area = int(bits[query].sum())
        return bool(followed) and area > 0 and bool(
            ((bits[followed] & bits[query]).sum((1, 2)) >= self.settings.double * area).any()
        )  # fmt: skip

    def _update(
        self, track: _Tracked, query: int, vectors: npt.NDArray[np.float32], bits: npt.NDArray[np.bool_],
        score: npt.NDArray[np.float64], label: npt.NDArray[np.int64],
    ) -> None:  # fmt: skip
        keep = self.settings.inertia
        track.embedding = _unit(keep * track.embedding + (1 - keep) * vectors[query])
        track.look = track.look + np.float32(score[query]) * vectors[query]
        track.mask = bits[query]
        name = int(label[query])
        track.votes[name] = track.votes.get(name, 0.0) + float(score[query])
        track.last = self.frames
        track.seen += 1
        track.confidence += float(score[query])

    def _forget(self, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """End flickers, and the weakest of too many tracks; the rest of ``order``."""
        gone = [self.frames - track.last > self.settings.memory for track in self._tracks]
        keep = [not (ended and track.seen < 3) for ended, track in zip(gone, self._tracks, strict=True)]
        if sum(keep) > MOST:
            resting = [i for i in np.argsort(self._confidence(), kind="stable") if keep[i] and order[i] < 0]
            for index in map(int, resting[: sum(keep) - MOST]):
                keep[index] = False
        self._tracks = [track for track, stays in zip(self._tracks, keep, strict=True) if stays]
        kept: npt.NDArray[np.int64] = order[np.array(keep, dtype=bool)]
        return kept

    def _confidence(self) -> npt.NDArray[np.float64]:
        """Mean score over the frames in sight, with a few frames of nothing so that flickers do not count."""
        prior = min(_PRIOR, max(self.frames - 1, 0))
        return np.array([t.confidence / (t.seen + prior) for t in self._tracks], dtype=np.float64)

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Track id of each row, from 1, never used again."""
        return np.array([track.track_id for track in self._tracks], dtype=np.int64)

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """[tracks, K]: the confidence so far under the name with most votes, 0 under all others."""
        scores = np.zeros((len(self._tracks), self._classes))
        for row, (track, confidence) in enumerate(zip(self._tracks, self._confidence(), strict=True)):
            scores[row, max(track.votes, key=lambda name: track.votes[name])] = confidence
        return scores

    def best(self, top_k: int) -> RankedPairs:
        """The ``top_k`` best tracks so far, each with its one name."""
        return rank_pairs(self.scores, min(top_k, len(self._tracks)))

    def state(self) -> dict[str, Any]:
        """Everything needed to go on later, as plain values for a JSON file; floats keep every bit."""
        return {
            "kind": "objects",
            "frames": self.frames,
            "born": self._born,
            "classes": self._classes,
            "joined": [[later, first] for later, first in self.joined.items()],
            "tracks": [
                {
                    "id": t.track_id, "embedding": t.embedding.astype("<f4").tobytes().hex(),
                    "look": t.look.astype("<f4").tobytes().hex(),
                    "mask": {"shape": list(t.mask.shape), "bits": np.packbits(t.mask).tobytes().hex()},
                    "votes": [[name, votes] for name, votes in t.votes.items()],
                    "life": [t.first, t.last, t.seen], "confidence": t.confidence,
                }
                for t in self._tracks
            ],
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, Any], settings: LinkSettings | None = None) -> "ObjectTracker":
        """The tracker whose `state` this is."""
        tracker = cls(settings)
        tracker.frames, tracker._born, tracker._classes = (int(state[key]) for key in ("frames", "born", "classes"))
        tracker.joined = {int(later): int(first) for later, first in state["joined"]}
        for stored in state["tracks"]:
            shape = tuple(stored["mask"]["shape"])
            bits = np.unpackbits(np.frombuffer(bytes.fromhex(stored["mask"]["bits"]), np.uint8))
            first, last, seen = stored["life"]
            tracker._tracks.append(
                _Tracked(
                    int(stored["id"]),
                    np.frombuffer(bytes.fromhex(stored["embedding"]), "<f4").astype(np.float32),
                    np.frombuffer(bytes.fromhex(stored["look"]), "<f4").astype(np.float32),
                    bits[: int(np.prod(shape))].reshape(shape).astype(bool),
                    {int(name): float(votes) for name, votes in stored["votes"]},
                    int(first), int(last), int(seen), float(stored["confidence"]),
                )
            )  # fmt: skip
        return tracker


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: npt.NDArray[np.float32] = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit


def _iou(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """IoU [n, m] of masks [n, h, w] and [m, h, w]; 0 where sizes differ."""
    if first.shape[1:] != second.shape[1:]:
        return np.zeros((len(first), len(second)))
    a, b = first.reshape(len(first), -1).astype(np.float32), second.reshape(len(second), -1).astype(np.float32)
    both = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1)[None] - both
    iou: npt.NDArray[np.float64] = np.divide(both, union, out=np.zeros_like(both), where=union > 0).astype(np.float64)
    return iou
