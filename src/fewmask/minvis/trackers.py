"""Which rule links the queries of a video, and how a stored tracker comes back."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fewmask.minvis.matching import Array
from fewmask.minvis.object_tracker import ObjectTracker
from fewmask.minvis.segmenter import QuerySegmenter
from fewmask.minvis.tracker import QueryTracker, RankedPairs


class Tracker(Protocol):
    """What takes in the queries of one frame after another; rows are tracks."""

    frames: int

    def step(
        self, class_logits: Array, embeddings: Array, mask_quality: Array | None = None, masks: Array | None = None
    ) -> npt.NDArray[np.int64]:
        """Take in one frame; this frame's query of every track, -1 where it is not seen."""
        ...

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Track id of every row."""
        ...

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Score [tracks, K] so far of every (track, class) pair."""
        ...

    def best(self, top_k: int) -> RankedPairs:
        """The best (track, class) pairs so far; ``slots`` are rows."""
        ...

    def state(self) -> dict[str, Any]:
        """What `restored` takes, as plain JSON values."""
        ...


def new_tracker(segmenter: QuerySegmenter, linking: str) -> Tracker:
    """An empty tracker.

    Args:
        linking: "paper", "objects", or "auto": objects where the segmenter's embeddings were taught to be identities.
    """
    if linking == "auto":
        linking = "objects" if getattr(segmenter, "teaches_identity", False) else "paper"
    return ObjectTracker() if linking == "objects" else QueryTracker()


def restored(state: dict[str, Any]) -> Tracker:
    """The tracker whose `state` this is."""
    return ObjectTracker.from_state(state) if state.get("kind") == "objects" else QueryTracker.from_state(state)
