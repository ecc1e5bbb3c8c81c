"""A teacher's objects in the frames of a video: the sure ones as tracks, the doubtful ones as what is unknown."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from fewmask.media import rle
from fewmask.media.rle import Rle
from fewmask.minvis.object_tracker import LinkSettings, ObjectTracker
from fewmask.pipelines.teacher import COLOURS, Certainty, TaughtObject

COARSE = 4  # frames are linked on every so many-th row and column of the masks


def taught_tracks(
    frames: Sequence[tuple[dict[str, Any], list[TaughtObject]]], certainty: Certainty, classes: int
) -> list[tuple[int, list[Rle | None]]]:
    """Sure objects linked by colours and overlap: (class by votes, mask or None of every frame)."""
    tracker = ObjectTracker(LinkSettings(least_score=0.0, birth_score=0.0, double=1.1, recall=0.95, memory=20))
    found: dict[int, list[Rle | None]] = {}
    votes: dict[int, Counter[int]] = {}
    for t, (_, objects) in enumerate(frames):
        sure = [taught for taught in objects if taught.is_sure(certainty)]
        logits = np.full((len(sure), classes + 1), -20.0)
        for row, taught in enumerate(sure):
            logits[row, taught.label] = 0.0
        vectors = np.array([taught.colours for taught in sure], np.float32).reshape(len(sure), COLOURS)
        masks = [rle.decode(taught.mask)[::COARSE, ::COARSE] for taught in sure]
        order = tracker.step(logits, vectors, None, np.stack(masks) if masks else np.zeros((0, 1, 1), bool))
        for track_id, query in zip(tracker.ids.tolist(), order.tolist(), strict=True):
            if query >= 0:
                found.setdefault(track_id, [None] * len(frames))[t] = sure[query].mask
                votes.setdefault(track_id, Counter())[sure[query].label] += 1
    return [(votes[key].most_common(1)[0][0], masks) for key, masks in found.items()]


def taught_doubts(
    frames: Sequence[tuple[dict[str, Any], list[TaughtObject]]], certainty: Certainty
) -> tuple[list[Rle | None], Counter[int]]:
    """What is unknown in every frame, as one mask, and the classes it might be of."""
    unknown: list[Rle | None] = []
    labels: Counter[int] = Counter()
    for _, objects in frames:
        doubtful = [taught for taught in objects if taught.is_doubtful(certainty)]
        labels.update(taught.label for taught in doubtful)
        masks = [rle.decode(taught.mask) for taught in doubtful]
        unknown.append(rle.encode(np.any(masks, axis=0)) if masks else None)
    return unknown, labels
