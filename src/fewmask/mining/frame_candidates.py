"""Everything stage 2 needs to know of one frame: its proposals, its K best combinations, a small picture."""

import base64
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.media import rle
from fewmask.media.rle import Rle
from fewmask.mining.combinations import Combination, best_combinations
from fewmask.mining.proposals import Proposer, RgbImage, best_proposals
from fewmask.mining.settings import MiningSettings

BoolMasks = npt.NDArray[np.bool_]


class BackgroundEstimator(Protocol):
    """Anything that tells background from objects; `BackgroundNet` is one."""

    def background(self, rgb: RgbImage) -> npt.NDArray[np.float32]:
        """Probability of background [H, W] in [0, 1] for a frame uint8 [H, W, 3]."""
        ...


@dataclass(frozen=True)
class FrameCandidates:
    """One frame after stage 1.

    Attributes:
        index: position among the frames looked at.
        size: (height, width).
        masks: the N proposals as RLE, by falling score.
        scores: their scores.
        backgrounds: mean probability of background inside each.
        combinations: the K best (cost, mask indices), rising.
        picture: the frame at the size at which flow is computed, PNG.
    """

    index: int
    size: tuple[int, int]
    masks: tuple[Rle, ...]
    scores: tuple[float, ...]
    backgrounds: tuple[float, ...]
    combinations: tuple[Combination, ...]
    picture: bytes

    def rgb(self) -> RgbImage:
        """The small picture, uint8 [h, w, 3]."""
        bgr: Any = cv2.imdecode(np.frombuffer(self.picture, np.uint8), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(bgr[:, :, ::-1])

    def bitmaps(self) -> BoolMasks:
        """The proposals, bool [N, H, W]."""
        return rle.decode_many(self.masks) if self.masks else np.zeros((0, *self.size), dtype=bool)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "size": list(self.size),
            "counts": [mask["counts"] for mask in self.masks],
            "scores": list(self.scores),
            "backgrounds": list(self.backgrounds),
            "combinations": [[cost, list(indices)] for cost, indices in self.combinations],
            "picture": base64.b64encode(self.picture).decode("ascii"),
        }

    @classmethod
    def from_json(cls, index: int, record: dict[str, Any]) -> "FrameCandidates":
        """What `to_json` gave."""
        size = (record["size"][0], record["size"][1])
        return cls(
            index=index,
            size=size,
            masks=tuple({"size": list(size), "counts": counts} for counts in record["counts"]),
            scores=tuple(record["scores"]),
            backgrounds=tuple(record["backgrounds"]),
            combinations=tuple((cost, tuple(indices)) for cost, indices in record["combinations"]),
            picture=base64.b64decode(record["picture"]),
        )


def frame_candidates(
    index: int, rgb: RgbImage, proposer: Proposer, background: BackgroundEstimator, settings: MiningSettings
) -> FrameCandidates:
    """Stage 1 on one frame uint8 [H, W, 3]: proposals, background cue, the K best combinations.

    Raises:
        DatasetError: the proposer or the background network answers with something else than it should.
    """
    proposals = best_proposals(proposer, rgb, settings.proposals, settings.score_threshold)
    probability = with_prior(background.background(rgb), settings.background_prior)
    combinations = best_combinations(
        proposals.masks,
        probability,
        settings.candidates,
        disjoint=settings.disjoint,
        tolerance=settings.tolerance,
        reduction=settings.reduction,
        bonus=_bonus(proposals.scores, settings),
    )
    return FrameCandidates(
        index=index,
        size=(rgb.shape[0], rgb.shape[1]),
        masks=tuple(rle.encode_many(proposals.masks)),
        scores=tuple(float(score) for score in proposals.scores),
        backgrounds=tuple(float(probability[mask].mean(dtype=np.float64)) for mask in proposals.masks),
        combinations=tuple(combinations),
        picture=_small_png(rgb, settings.flow_short_side),
    )


def _bonus(scores: npt.NDArray[np.float64], settings: MiningSettings) -> list[float] | None:
    if settings.weight_score == 0:
        return None
    return [settings.weight_score * (float(score) - settings.score_centre) for score in scores]


def with_prior(probability: npt.NDArray[np.float32], log_odds: float) -> npt.NDArray[np.float32]:
    """Probabilities [H, W] whose log-odds are raised by ``log_odds``; the same array for 0."""
    if log_odds == 0:
        return probability
    odds = np.float32(np.exp(log_odds))
    raised: npt.NDArray[np.float32] = odds * probability / (odds * probability + (1 - probability))
    return raised


def _small_png(rgb: RgbImage, short_side: int) -> bytes:
    height, width = rgb.shape[:2]
    scale = min(1.0, short_side / min(height, width))
    # DIS wants 16 pixels and more on either side, whatever the shape of the frame.
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    small = rgb if size == (width, height) else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", np.ascontiguousarray(small[:, :, ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
