"""Exact mode: the official video post-processing on the queries of all frames at once (Section 3.3, appendix)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fewmask.errors import ConfigError
from fewmask.minvis.frame_instances import resize_logits
from fewmask.minvis.matching import Array, as_numpy
from fewmask.minvis.tracker import QueryTracker


@dataclass(frozen=True)
class LinkedVideo:
    """Tracks of one video.

    Attributes:
        permutation: int64 [T, Q]; row t holds the query of frame t in each slot, row 0 is the identity.
        video_logits: [Q, K+1], mean over frames of the aligned raw logits.
        scores: float64 [N], falling; N = min(top_k, Q x K).
        labels: int64 [N], 0-based classes. One slot may appear with several classes.
        queries: int64 [N], slots (queries of frame 0).
        masks: bool [N, T, H, W] at the output size.
    """

    permutation: npt.NDArray[np.int64]
    video_logits: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]
    masks: npt.NDArray[np.bool_]


def link_video(
    class_logits: Array,
    mask_logits: Array,
    embeddings: Array,
    *,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    top_k: int = 10,
) -> LinkedVideo:
    """Link T frames of queries, each in its frame's own order, and return the ``top_k`` best tracks.

    Args:
        class_logits: [T, Q, K+1], the last column is no object.
        mask_logits: [T, Q, h, w].
        embeddings: [T, Q, C].
        padded_size: (H, W) of the padded network input; masks are resized to it first.
        image_size: (H, W) of the frame inside it; the padding is cropped next.
        output_size: (H, W) of the result.
        top_k: number of (query, class) pairs returned.

    Raises:
        ConfigError: no frame, or the arrays do not belong together.
    """
    shapes = [tuple(array.shape) for array in (class_logits, mask_logits, embeddings)]
    if [len(shape) for shape in shapes] != [3, 4, 3] or len({shape[:2] for shape in shapes}) > 1 or shapes[0][0] == 0:
        raise ConfigError(
            f"class_logits, mask_logits and embeddings must be [T, Q, K+1], [T, Q, h, w] and [T, Q, C] with T >= 1, "
            f"got {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    tracker = QueryTracker()
    permutation = np.stack([tracker.step(class_logits[t], embeddings[t]) for t in range(shapes[0][0])])
    best = tracker.best(top_k)
    masks: npt.NDArray[Any] = np.zeros((len(best.slots), len(permutation), *output_size), dtype=bool)
    slots, rows = np.unique(best.slots, return_inverse=True)
    for t, order in enumerate(permutation):
        logits = torch.from_numpy(as_numpy(mask_logits[t])[order[slots]])
        found = (resize_logits(logits, padded_size, image_size, output_size) > 0).numpy()
        masks[:, t] = found[rows]
    return LinkedVideo(permutation, tracker.video_logits, best.scores, best.labels, best.slots, masks)
