"""Which found objects are kept: those on which independent witnesses agree, each named with what it said.

Of a track and a kind five things are asked, each answered in [0, 1]:

- *look*: does it resemble the kind's examples more than anything that is not meant (embeddings)?
- *inside*: does it lie in the few-shot network's class mask (VIPMT)?
- *foreground*: does the background network take it for an object (the appearance term of the Bayesian objective)?
- *steady*: does it keep its shape from frame to frame (its consistency term)?
- *score*: how sure is the segmenter?

The confidence is their weighted geometric mean: one witness who says no is enough against, however loud the others are.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from fewmask.pipelines.grow.find import FoundTrack
from fewmask.pipelines.grow.groups import Vectors

LIKE, UNLIKE, DOUBT = 15.0, 6.0, 4.0
"""*look* is the logistic of LIKE x likeness to the examples - UNLIKE x likeness to what is not meant - DOUBT.

Fitted to objects that the segmenter finds in held-out COCO pictures, by two and by five examples of a class among 60
others: at *look* 0.5 precision is 0.85 and 0.88, recall 0.74 and 0.97 (the same objects, once). That likeness weighs
more than unlikeness lets two examples speak against hundreds of others, one of which is always near.
"""
NOTHING_ELSE = 0.35
"""Likeness to what is not meant where nothing is known of it: that of most objects of other kinds."""
WEIGHTS = {"look": 2.0, "inside": 1.0, "foreground": 1.0, "steady": 0.5, "score": 0.5}
KEEP = 0.5
"""Confidence from which a track is kept."""
UNSURE = 0.25
"""Below `KEEP` and above this a track is neither an example nor background: unknown."""
_FLOOR = 1e-3


@dataclass(frozen=True)
class Evidence:
    """What each witness says of a track and a kind, all in [0, 1]."""

    look: float
    inside: float
    foreground: float
    steady: float
    score: float

    @property
    def confidence(self) -> float:
        """Weighted geometric mean, in [0, 1]."""
        total = sum(WEIGHTS.values())
        logs = sum(WEIGHTS[name] * math.log(max(_FLOOR, min(1.0, value))) for name, value in self.as_dict().items())
        return math.exp(logs / total)

    def as_dict(self) -> dict[str, float]:
        """By name, rounded for files."""
        return {name: round(float(value), 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Verdict:
    """A track's best kind, the evidence for it, and what follows: "kept", "unsure" or "other"."""

    kind: int
    evidence: Evidence
    decision: str


def judge(
    track: FoundTrack, vector: Vectors, kinds: Sequence[Vectors], others: Vectors, *, keep: float = KEEP
) -> Verdict:
    """The verdict on one track.

    Args:
        track: of the stage find.
        vector: [D], what it looks like (`TrackLooks.embed`).
        kinds: per kind the vectors [n, D] of its examples.
        others: vectors [m, D] of what is not meant, possibly none.
        keep: least confidence of a kept track.
    """
    alike = np.array([_nearest(vector, examples) for examples in kinds])
    against = _nearest(vector, others) if len(others) else -1.0
    verdicts = []
    for kind, own in enumerate(alike.tolist()):
        rivals = np.delete(alike, kind).tolist()
        nearest = max([against, *rivals])
        look = _logistic(LIKE * own - UNLIKE * (nearest if nearest > -1 else NOTHING_ELSE) - DOUBT)
        evidence = Evidence(
            look=min([look, *(_logistic(LIKE * (own - rival)) for rival in rivals)]),
            inside=track.share_inside(kind),
            foreground=float(np.mean(track.foreground)) if track.foreground else 0.5,
            steady=float(np.mean(track.steady)) if track.steady else 0.5,
            score=track.score,
        )
        confidence = evidence.confidence
        sure = confidence >= keep and evidence.look >= 0.5
        verdicts.append(Verdict(kind, evidence, "kept" if sure else "unsure" if confidence >= UNSURE else "other"))
    return max(verdicts, key=lambda verdict: verdict.evidence.confidence)


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))


def _nearest(vector: Vectors, examples: Vectors) -> float:
    """Mean cosine to the three most alike of the examples: one odd example does not decide alone."""
    alike = np.sort(examples @ vector)[::-1]
    return float(alike[:3].mean())
