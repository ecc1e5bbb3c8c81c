"""Are a track and the objects of the supports of one kind? The segmenter's names for both say it, sure or not.

A few-shot class mask is coarse: trained on few pictures, it tells a dog from a wall better than from the woman beside
it. The segmenter knows 80 names, and how it spreads its belief over them tells kinds apart that bear none of these
names, too: a rhinoceros is mostly elephant and a little cow. Kinship is the Bhattacharyya coefficient of two such
beliefs, in [0, 1]. A segmenter of one class has nothing to say.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.media import rle
from fewmask.media.frame_source import RgbImage
from fewmask.media.rle import Rle
from fewmask.minvis.frame_instances import resize_logits
from fewmask.minvis.matching import as_numpy
from fewmask.minvis.segmenter import QuerySegmenter
from fewmask.vipmt.support import SupportPicture, SupportSet

Belief = npt.NDArray[np.float64]
"""Probabilities of the segmenter's names, [names]."""

LEAST_SCORE = 0.15
"""Score from which the segmenter's objects in a support picture count."""
LEAST_IOU = 0.3
"""Overlap with a mask from which the segmenter's object is what the mask shows."""
LEAST_SURE = 0.4
"""A track of which no name is believed by this much bears none of them, and its belief says nothing: a sail is a little
parking meter, kite and stop sign. Chosen on held-out COCO pictures."""
MIN_INSIDE, MIN_PART = 0.6, 0.15
"""An object of a support lies in its mask by this share, and makes up this share of it: a part is no object."""


class Kinship:
    """Beliefs about the classes of the supports, and about the tracks of one video so far.

    Args:
        classes: of each class its belief, None where the segmenter sees none of its objects.
        negatives: of what must not be found.
    """

    def __init__(self, classes: Sequence[Belief | None], negatives: Belief | None = None) -> None:
        self._classes = [*classes]
        self._negatives = negatives
        self._tracks: dict[int, Belief] = {}

    @classmethod
    def of_supports(cls, segmenter: QuerySegmenter, supports: SupportSet) -> "Kinship":
        """What the segmenter believes of the masked objects; it looks at every picture once."""
        return cls(
            [_belief(segmenter, pictures) for pictures in supports.classes.values()],
            _belief(segmenter, supports.negatives),
        )

    def see(self, names: Mapping[int, npt.NDArray[np.float32]]) -> None:
        """Take in what a frame says of its tracks: by id, probabilities of names."""
        for track_id, belief in names.items():
            before = self._tracks.get(track_id)
            self._tracks[track_id] = belief.astype(np.float64) if before is None else before + belief

    def of(self, track_id: int) -> list[float | None]:
        """Kinship of a track with each class, from all frames so far; None where nothing is known (`LEAST_SURE`).

        One that is more like what must not be found than like a class is no kin of it: 0.
        """
        seen = self._tracks.get(track_id)
        if seen is None or len(seen) < 2:
            return [None] * len(self._classes)
        belief = seen / seen.sum()
        unsure = belief.max() < LEAST_SURE
        refused = 0.0 if self._negatives is None else float(np.sqrt(self._negatives * belief).sum())
        kinship = [None if of is None else float(np.sqrt(of * belief).sum()) for of in self._classes]
        return [0.0 if of is not None and of < refused else None if unsure else of for of in kinship]

    def state(self) -> list[Any]:
        """What going on needs, as plain JSON values."""
        return [[track_id, belief.tolist()] for track_id, belief in self._tracks.items()]

    def restore(self, state: list[Any]) -> None:
        """Go on from another's `state`."""
        self._tracks = {track_id: np.array(belief) for track_id, belief in state}


def _belief(segmenter: QuerySegmenter, pictures: Sequence[SupportPicture]) -> Belief | None:
    """Mean over the pictures of what their masked objects are taken for, large and sure ones first."""
    beliefs = []
    for picture in pictures:
        found, names, score = _objects(segmenter, picture.rgb, LEAST_SCORE)
        both = (found & picture.mask).sum((1, 2))
        part = both / picture.mask.sum()
        objects = (both >= MIN_INSIDE * found.sum((1, 2))) & (part >= MIN_PART)
        if objects.any():
            beliefs.append(np.average(names[objects], axis=0, weights=(score * part)[objects]))
    return np.mean(beliefs, axis=0) if beliefs else None


def beliefs_of(segmenter: QuerySegmenter, rgb: RgbImage, masks: Sequence[Rle]) -> list[Belief | None]:
    """What the segmenter takes masked objects of one picture for; it looks at the picture once.

    Args:
        segmenter: that knows several names.
        rgb: uint8 [H, W, 3].
        masks: of the objects, each of the picture's size.

    Returns:
        For each mask the belief of the object that overlaps it best; None where none does by `LEAST_IOU`.
    """
    found, names, _ = _objects(segmenter, rgb)
    beliefs: list[Belief | None] = []
    for overlaps in rle.iou_matrix(masks, rle.encode_many(found)):
        best = int(overlaps.argmax())
        beliefs.append(names[best] if overlaps[best] >= LEAST_IOU else None)
    return beliefs


def _objects(
    segmenter: QuerySegmenter, rgb: RgbImage, least: float = 0.0
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Masks [N, H, W], beliefs [N, names] and scores [N] of one picture's queries of a score of at least ``least``."""
    segmenter.reset()
    output = segmenter(rgb[None], short_side=segmenter.short_side)
    segmenter.reset()
    score = output.class_queries_logits[0].float().softmax(-1)[:, :-1].amax(-1)
    sure = score >= least
    logits = output.masks_queries_logits[0, sure]
    masks = resize_logits(logits, output.padded_size, output.image_size, (rgb.shape[0], rgb.shape[1]))
    names = as_numpy(output.name_probabilities(0)[sure]).astype(np.float64)
    return as_numpy(masks > 0), names, as_numpy(score[sure])
