"""Identity switches: how often the track that holds an object changes (CLEAR MOT, Bernardin and Stiefelhagen 2008)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from fewmask.datasets.ytvis_types import YtvisDataset, YtvisResult
from fewmask.media import rle
from fewmask.metrics.track_overlap import Track

_STAY = 1000.0  # weight that keeps a pair of the frame before together before any other is formed


@dataclass(frozen=True, slots=True)
class IdentityCounts:
    """What happened to the true objects over all frames."""

    switches: int
    """Frames in which an object is held by another track than when it was last held."""
    held: int
    """Object frames that a track holds."""
    objects: int
    """Object frames there are."""

    def __add__(self, other: "IdentityCounts") -> "IdentityCounts":
        return IdentityCounts(self.switches + other.switches, self.held + other.held, self.objects + other.objects)


def identity_switches(truths: Sequence[Track], tracks: Sequence[Track], *, iou: float = 0.5) -> IdentityCounts:
    """Count the identity switches of one video.

    In every frame true and predicted masks are paired one to one among the pairs whose mask IoU is at least ``iou``:
    first as many pairs of the frame before as possible stay, then the sum of IoUs is largest. A switch is counted
    when an object's track differs from the last one that held it, however long ago that was.

    Args:
        truths: true objects of one video.
        tracks: predicted tracks of the same video; every one counts, so drop those of low score before.
        iou: raising it makes fewer pairs.
    """
    last: dict[int, int] = {}
    before: dict[int, int] = {}
    switches = held = 0
    frames = len(truths[0].segmentations) if truths else 0
    for frame in range(frames):
        objects = [index for index, truth in enumerate(truths) if truth.mask_areas[frame]]
        present = [index for index, track in enumerate(tracks) if track.mask_areas[frame]]
        pairs = {}
        if objects and present:
            found = rle.iou_matrix(
                [mask for index in objects if (mask := truths[index].segmentations[frame]) is not None],
                [mask for index in present if (mask := tracks[index].segmentations[frame]) is not None],
            )
            stays = np.array([[before.get(o) == p for p in present] for o in objects])
            weight = np.where(found >= iou, found + _STAY * stays, 0.0)
            for row, column in zip(*linear_sum_assignment(weight, maximize=True), strict=True):
                if weight[row, column] > 0:
                    pairs[objects[row]] = present[column]
        switches += sum(last.get(o, p) != p for o, p in pairs.items())
        held += len(pairs)
        last |= pairs
        before = pairs
    return IdentityCounts(switches, held, sum(int(np.count_nonzero(truth.mask_areas)) for truth in truths))


def evaluate_identities(
    dataset: YtvisDataset,
    results: Sequence[YtvisResult],
    *,
    min_score: float = 0.0,
    class_agnostic: bool = False,
    iou: float = 0.5,
) -> IdentityCounts:
    """Identity switches of a dataset: within each video and class; crowds are left out.

    Args:
        dataset: the ground truth.
        results: predicted tracks.
        min_score: tracks below it are left out; raising it leaves the sure ones.
        class_agnostic: pair across classes.
        iou: as `identity_switches`.
    """
    truths: dict[tuple[int, int], list[Track]] = defaultdict(list)
    tracks: dict[tuple[int, int], list[Track]] = defaultdict(list)
    for annotation in dataset.annotations:
        if not annotation.iscrowd:
            truths[annotation.video_id, -1 if class_agnostic else annotation.category_id].append(annotation)
    for result in results:
        if result.score >= min_score:
            tracks[result.video_id, -1 if class_agnostic else result.category_id].append(result)
    counts = (identity_switches(group, tracks[key], iou=iou) for key, group in truths.items())
    return sum(counts, IdentityCounts(0, 0, 0))
