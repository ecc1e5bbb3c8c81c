"""The online half of MinVIS: track slots that queries are sorted into frame by frame, and their running class scores.

Slot i is query i of the first frame; its track id is i + 1 for the whole video. Nothing per frame is kept: the state
is one embedding, one sum of logits and one sum of mask qualities per slot, whatever the length of the video.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.minvis.matching import Array, as_numpy, match_queries


@dataclass(frozen=True)
class RankedPairs:
    """The best (slot, class) pairs by falling score; equal scores in order of slot, then class.

    ``scores`` float64 [N] in [0, 1], ``labels`` int64 [N] (0-based classes), ``slots`` int64 [N].
    """

    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]


def rank_pairs(scores: npt.NDArray[np.float64], top_k: int) -> RankedPairs:
    """The ``top_k`` best pairs of scores [Q, K]."""
    flat = scores.ravel()
    order = np.argsort(-flat, kind="stable")[:top_k]
    return RankedPairs(flat[order], order % scores.shape[1], order // scores.shape[1])


class QueryTracker:
    """Sorts each frame's queries into the slots of the video and averages their class logits.

    Frame t is matched with the re-ordered frame t - 1 only: no memory, no running mean of embeddings.

    The paper ranks tracks by class probability alone, and a slot that is sure of its class but empty can come first.
    A tracker that is also told each frame's mask quality multiplies by its mean, as image Mask2Former does.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._embeddings: npt.NDArray[Any] | None = None
        self._logit_sum: npt.NDArray[np.float64] | None = None
        self._quality_sum: npt.NDArray[np.float64] | None = None

    def step(
        self, class_logits: Array, embeddings: Array, mask_quality: Array | None = None, masks: Array | None = None
    ) -> npt.NDArray[np.int64]:
        """Take in one frame.

        Args:
            class_logits: [Q, K+1], in the network's order.
            embeddings: [Q, C], likewise.
            mask_quality: [Q] in [0, 1], likewise; with every frame or with none.
            masks: not looked at.

        Returns:
            int64 [Q]: the query of this frame that belongs to each slot.
        """
        del masks
        logits, vectors = as_numpy(class_logits), as_numpy(embeddings)
        if self._embeddings is None or self._logit_sum is None:
            order = np.arange(len(vectors), dtype=np.int64)
            self._logit_sum = np.zeros(logits.shape, dtype=np.float64)
        else:
            order = match_queries(self._embeddings, vectors)
        self._embeddings = vectors[order]
        self._logit_sum += logits[order]
        if mask_quality is not None:
            quality = as_numpy(mask_quality)[order].astype(np.float64)
            self._quality_sum = quality if self._quality_sum is None else self._quality_sum + quality
        self.frames += 1
        return order

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Track id of each slot, from 1."""
        return np.arange(1, 1 + (0 if self._logit_sum is None else len(self._logit_sum)), dtype=np.int64)

    @property
    def video_logits(self) -> npt.NDArray[np.float64]:
        """Mean of the raw logits over the frames so far, null frames included: [Q, K+1]."""
        if self._logit_sum is None:
            raise ValueError("no frame has been taken in yet")
        return self._logit_sum / self.frames

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Score [Q, K] of every (slot, class) pair so far: one softmax of the mean logits, the no-object column
        dropped (as the official code), times the mean mask quality where that is known.
        """
        probability = class_probability(self.video_logits)
        return probability if self._quality_sum is None else probability * (self._quality_sum / self.frames)[:, None]

    def best(self, top_k: int) -> RankedPairs:
        """The ``top_k`` best (slot, class) pairs so far."""
        return rank_pairs(self.scores, top_k)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on later, as plain values for a JSON file; floats keep every bit."""
        if self._embeddings is None or self._logit_sum is None:
            return {"frames": 0}
        state: dict[str, Any] = {
            "frames": self.frames,
            "embeddings": {"shape": list(self._embeddings.shape), "hex": _to_hex(self._embeddings, "<f4")},
            "logit_sum": {"shape": list(self._logit_sum.shape), "hex": _to_hex(self._logit_sum, "<f8")},
        }
        if self._quality_sum is not None:
            state["quality_sum"] = {"shape": list(self._quality_sum.shape), "hex": _to_hex(self._quality_sum, "<f8")}
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "QueryTracker":
        """The tracker whose `state` this is."""
        tracker = cls()
        tracker.frames = int(state["frames"])
        if tracker.frames:
            tracker._embeddings = _from_hex(state["embeddings"], "<f4")
            tracker._logit_sum = _from_hex(state["logit_sum"], "<f8")
            if "quality_sum" in state:
                tracker._quality_sum = _from_hex(state["quality_sum"], "<f8")
        return tracker


def class_probability(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Softmax [..., K] of logits [..., K+1] without the no-object column."""
    values = logits.astype(np.float64)
    exponent = np.exp(values - values.max(axis=-1, keepdims=True))
    probability: npt.NDArray[np.float64] = (exponent / exponent.sum(axis=-1, keepdims=True))[..., :-1]
    return probability


def _to_hex(array: npt.NDArray[Any], dtype: str) -> str:
    return np.ascontiguousarray(array, dtype=dtype).tobytes().hex()


def _from_hex(stored: dict[str, Any], dtype: str) -> npt.NDArray[Any]:
    return np.frombuffer(bytes.fromhex(stored["hex"]), dtype=dtype).reshape(stored["shape"]).copy()
