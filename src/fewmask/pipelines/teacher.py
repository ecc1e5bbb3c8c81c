"""A detector and a box-prompted segmenter as one teacher: objects of a picture with class, score and mask quality."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.media import rle
from fewmask.media.rle import Rle
from fewmask.models.onnx_detector import OnnxDetector
from fewmask.models.sam_masks import BoxPrompted

SPECK = 0.02  # pieces and holes below this share of a mask are removed and filled
_BINS = 4  # per colour channel
COLOURS = _BINS**3


@dataclass(frozen=True)
class Certainty:
    """What a teacher's object must reach. Scores and qualities lie in [0, 1].

    Attributes:
        score: of the detector, from which an object is sure.
        quality: IoU that the segmenter expects of its mask, from which an object is sure.
        doubt: score from which an object that is not sure marks a region as unknown; below, it is nothing.
    """

    score: float = 0.4
    quality: float = 0.75
    doubt: float = 0.12


@dataclass(frozen=True)
class TaughtObject:
    """One object: its mask, class from 0, the teacher's score and mask quality, and how its colours are spread."""

    mask: Rle
    label: int
    score: float
    quality: float
    colours: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "mask": {"size": list(self.mask["size"]), "counts": self.mask["counts"]}, "label": self.label,
            "score": self.score, "quality": self.quality, "colours": list(self.colours),
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "TaughtObject":
        """From what `to_json` gave."""
        mask: Rle = {"size": value["mask"]["size"], "counts": value["mask"]["counts"]}
        return cls(mask, int(value["label"]), value["score"], value["quality"], tuple(value["colours"]))

    def is_sure(self, wanted: Certainty) -> bool:
        """Whether it counts as an object."""
        return self.score >= wanted.score and self.quality >= wanted.quality

    def is_doubtful(self, wanted: Certainty) -> bool:
        """Whether nobody knows; what fills more than half of the picture says too little to hide it all."""
        area = self.mask["size"][0] * self.mask["size"][1]
        return not self.is_sure(wanted) and self.score >= wanted.doubt and rle.area(self.mask) < 0.5 * area


class Teacher:
    """Boxes of a detector as prompts of a segmenter."""

    def __init__(self, detector: OnnxDetector, segmenter: BoxPrompted, *, least_score: float = 0.1) -> None:
        self.detector, self._segmenter, self._least_score = detector, segmenter, least_score

    def objects(self, rgb: npt.NDArray[np.uint8]) -> list[TaughtObject]:
        """What a picture uint8 [H, W, 3] shows, by falling score; objects without a pixel are left out."""
        boxes = self.detector.detect(rgb, least_score=self._least_score)
        drawn = self._segmenter.masks(rgb, boxes.corners)
        found = []
        for mask, quality, score, label in zip(drawn.masks, drawn.quality, boxes.scores, boxes.labels, strict=True):
            whole = without_specks(mask)
            if whole.any():
                found.append(
                    TaughtObject(
                        rle.encode(whole), int(label), round(float(score), 4), round(float(quality), 4),
                        _colours(rgb, whole),
                    )
                )  # fmt: skip
        return found


def without_specks(mask: npt.NDArray[np.bool_], share: float = SPECK) -> npt.NDArray[np.bool_]:
    """The mask without pieces and holes smaller than ``share`` of its area."""
    whole = mask.astype(np.uint8)
    least = share * whole.sum()
    for value, connectivity in ((1, 8), (0, 4)):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            (whole == value).astype(np.uint8), connectivity=connectivity
        )
        small = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] < least]
        if small:
            whole[np.isin(labels, small)] = 1 - value
    return whole.astype(bool)


def _colours(rgb: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """Square roots of the shares of the mask's pixels in each of 64 colours: products say how alike two objects are."""
    bins = (rgb[mask].astype(int) * _BINS) // 256
    counts = np.bincount(bins @ np.array([_BINS**2, _BINS, 1]), minlength=_BINS**3)
    return tuple(np.round(np.sqrt(counts / max(counts.sum(), 1)), 4).tolist())
