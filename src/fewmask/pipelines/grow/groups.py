"""Tracks of one kind, found by clustering what they look like (HDBSCAN), or by their likeness to a hint.

A group is worth teaching when it is large, tight and confident: many tracks of several videos, close to one another,
of masks that the miner is sure of. `Group.worth` puts that into one number, by which groups are ranked.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fewmask.errors import ConfigError

DIMENSIONS = 32
"""Principal components in which density is measured; in hundreds of dimensions all distances are alike."""
HINT_DEVIATIONS = 1.5
"""A track resembles a hint when its likeness lies so many standard deviations above the mean of all tracks."""
HINT_LIKENESS = 0.5
"""And when its cosine is this much of the way from that mean to the best track's."""
MOST_BY_HINT = 40
LEAST_OF_MEDIAN = 0.6
"""A member whose likeness to the rest is less of the group's median is a stray."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """Tracks of one kind.

    Attributes:
        number: from 1, best first.
        name: "group 1", or what the user calls it.
        members: places of its tracks among all, most typical first; the first is the medoid.
        likeness: cosine of each member to the rest of the group (or to the hint), in their order.
        tightness: mean of that.
        confidence: mean confidence of the members, in [0, 1].
        videos: how many videos they come from.
    """

    number: int
    name: str
    members: tuple[int, ...]
    likeness: tuple[float, ...]
    tightness: float
    confidence: float
    videos: int

    @property
    def worth(self) -> float:
        """Large, tight and confident: log2(1 + tracks) x videos^1/2 x tightness x confidence."""
        return math.log2(1 + len(self.members)) * math.sqrt(self.videos) * max(self.tightness, 0.0) * self.confidence


def cluster(vectors: Vectors, confidences: Sequence[float], videos: Sequence[str], *, smallest: int = 4) -> list[Group]:
    """Groups among tracks, best first; tracks that are like no others are in none.

    Args:
        vectors: unit vectors [N, D].
        confidences: of the tracks, in [0, 1].
        videos: name of each track's video.
        smallest: tracks in a group, at least 2.

    Raises:
        ConfigError: ``smallest`` is below 2.
    """
    from sklearn.cluster import HDBSCAN

    if smallest < 2:
        raise ConfigError(f"a group of {smallest} is none; the smallest must be 2 or more")
    if len(vectors) < 2 * smallest:
        return []
    labels = HDBSCAN(min_cluster_size=smallest, min_samples=2, copy=True).fit(_reduced(vectors)).labels_
    found = [
        _group(vectors, np.flatnonzero(labels == label), confidences, videos) for label in range(int(labels.max()) + 1)
    ]
    return _ranked(found)


def resembling(
    vectors: Vectors, hint: Vectors, confidences: Sequence[float], videos: Sequence[str], *, name: str
) -> list[Group]:
    """The one group of the tracks that look like a hint; none where no track stands out.

    Args:
        vectors: of the tracks, unit [N, D].
        hint: of the objects that the user shows, unit [H, D]; a track is compared with the one most like it.
        confidences: of the tracks.
        videos: name of each track's video.
        name: of the group.
    """
    if not len(vectors) or not len(hint):
        return []
    alike = (vectors @ hint.T).max(1)
    mean, best = float(alike.mean()), float(alike.max())
    least = max(mean + HINT_DEVIATIONS * float(alike.std()), mean + HINT_LIKENESS * (best - mean))
    order = np.argsort(-alike, kind="stable")[:MOST_BY_HINT]
    members = [int(place) for place in order if alike[place] >= least]
    if not members:
        return []
    likeness = tuple(float(alike[place]) for place in members)
    return [
        Group(
            1,
            name,
            tuple(members),
            likeness,
            float(np.mean(likeness)),
            float(np.mean([confidences[place] for place in members])),
            len({videos[place] for place in members}),
        )
    ]


def _reduced(vectors: Vectors) -> Vectors:
    from sklearn.decomposition import PCA

    size = min(DIMENSIONS, *vectors.shape)
    return np.asarray(PCA(size, svd_solver="full").fit_transform(vectors), np.float32)


def _group(
    vectors: Vectors, places: npt.NDArray[np.intp], confidences: Sequence[float], videos: Sequence[str]
) -> Group:
    """Members by falling mean cosine to the others; density alone also takes in strays, which are left out here."""
    alike = _likeness(vectors[places])
    places = places[alike >= LEAST_OF_MEDIAN * np.median(alike)]
    alike = _likeness(vectors[places])
    order = np.argsort(-alike, kind="stable")
    members = places[order].tolist()
    return Group(
        0,
        "",
        tuple(members),
        tuple(alike[order].tolist()),
        float(alike.mean()),
        float(np.mean([confidences[place] for place in members])),
        len(Counter(videos[place] for place in members)),
    )


def _likeness(own: Vectors) -> Vectors:
    """Mean cosine of each of unit vectors [n, D] to the others: [n]."""
    return np.asarray(((own @ own.T).sum(1) - 1) / max(len(own) - 1, 1), np.float32)


def _ranked(groups: Sequence[Group]) -> list[Group]:
    best = sorted(groups, key=lambda group: (-group.worth, group.members))
    return [replace(group, number=number, name=f"group {number}") for number, group in enumerate(best, 1)]
