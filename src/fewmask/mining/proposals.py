"""Where mask candidates come from: the Proposer protocol, and the best N of a frame."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError

RgbImage = npt.NDArray[np.uint8]
BoolMasks = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.floating]


class Proposer(Protocol):
    """Any class-agnostic instance segmenter, run with score threshold 0 (Sec. 3.1)."""

    def propose(self, rgb: RgbImage) -> tuple[BoolMasks, Scores]:
        """Masks bool [N, H, W] and scores [N] of one frame uint8 [H, W, 3], in any order."""
        ...


@dataclass(frozen=True)
class Proposals:
    """Mask candidates of one frame: ``masks`` bool [N, H, W], ``scores`` float64 [N], falling."""

    masks: BoolMasks
    scores: npt.NDArray[np.float64]


def best_proposals(proposer: Proposer, rgb: RgbImage, count: int, threshold: float) -> Proposals:
    """The ``count`` best-scored masks that are not empty, none scored below ``threshold``.

    Raises:
        DatasetError: the proposer's answer does not fit the frame.
    """
    masks, scores = proposer.propose(rgb)
    masks, scores = np.asarray(masks).astype(bool, copy=False), np.asarray(scores)
    if masks.shape != (len(scores), *rgb.shape[:2]) or np.isnan(scores).any():
        raise DatasetError(
            f"proposals have masks {masks.shape} and scores {scores.shape} for a frame of {rgb.shape[:2]}; "
            "give bool [N, H, W] and N scores that are numbers"
        )
    usable = masks.any(axis=(1, 2)) & (scores >= threshold)
    order = np.argsort(-scores, kind="stable")
    order = order[usable[order]][:count]
    return Proposals(masks[order], scores[order].astype(np.float64))
