"""The paper's other ways to link frames (Section 4.4): heuristics only, and heuristics + query.

*Heuristics* matches a frame with the last one by the cost of training, the last frame's predictions taking the place
of the ground truth: 2 x class + 5 x cross entropy + 5 x Dice. *Both* adds the cosine cost with equal weight.

`InTrackOrder` wraps any segmenter and hands on its queries in track order, with embeddings that say so; whatever
matches embeddings downstream, `link_video` and `MinVIS` included, then follows the chosen way.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from fewmask.minvis.matching import match_queries
from fewmask.minvis.pixels import DEFAULT_MAX_SIZE, Frames
from fewmask.minvis.segmenter import QuerySegmenter, SegmenterOutput
from fewmask.models.set_criterion import InstanceTargets, QueryPrediction, SetCriterion

Matching = Literal["query", "both", "heuristics"]


@dataclass(frozen=True, slots=True)
class FrameQueries:
    """The queries of one frame: class logits [Q, K + 1], mask logits [Q, h, w], embeddings [Q, C]."""

    class_logits: Tensor
    mask_logits: Tensor
    embeddings: Tensor

    def in_order(self, order: npt.NDArray[np.int64]) -> "FrameQueries":
        """The same queries, ``order[i]`` at place i."""
        index = torch.from_numpy(order).to(self.class_logits.device)
        return FrameQueries(self.class_logits[index], self.mask_logits[index], self.embeddings[index])


def match_frames(previous: FrameQueries, current: FrameQueries, matching: Matching) -> npt.NDArray[np.int64]:
    """The order of ``current`` that lines up with ``previous``, as `match_queries` gives it; int64 [Q].

    Args:
        previous: the last frame, in track order.
        current: this frame, in the network's order.
        matching: by embeddings ("query"), by the training cost ("heuristics"), or by their sum ("both").
    """
    if matching == "query":
        return match_queries(previous.embeddings, current.embeddings)
    cost = heuristic_cost(previous, current)
    if matching == "both":
        cost = cost + cosine_cost(previous.embeddings, current.embeddings)
    _, order = linear_sum_assignment(cost.double().cpu().numpy())
    return np.asarray(order, dtype=np.int64)


def heuristic_cost(previous: FrameQueries, current: FrameQueries) -> Tensor:
    """Training cost of explaining each query of the last frame by each of this frame, float32 [Q, Q].

    Every query of the last frame is a target, its class the likeliest one ("no object" included), its mask where the
    logit is positive. Masks are compared on every pixel of the low-resolution maps (some 14 000 for a 360p frame)
    instead of 12 544 random points, so that a run repeats exactly.
    """
    target = InstanceTargets(labels=previous.class_logits.argmax(dim=-1), masks=previous.mask_logits > 0)
    prediction = QueryPrediction(class_logits=current.class_logits[None], mask_logits=current.mask_logits[None])
    height, width = current.mask_logits.shape[-2:]
    criterion = SetCriterion(current.class_logits.shape[-1] - 1)
    centres = _pixel_centres(height, width, current.mask_logits.device)
    cost = criterion.matching_cost(prediction, 0, target, lambda _image, _count, _points: centres)
    return cost.T  # [previous, current]


def cosine_cost(previous: Tensor, current: Tensor) -> Tensor:
    """1 - cosine of embeddings [Q, C], [Q, Q]; zero and non-finite ones have cosine 0."""
    rows, columns = (
        functional.normalize(vectors.float().nan_to_num(0.0, 0.0, 0.0), dim=-1) for vectors in (previous, current)
    )
    return 1.0 - rows @ columns.T


def _pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """Every pixel of a map as points (x, y) in [0, 1], [1, h w, 2]."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((columns, rows), dim=-1).view(1, -1, 2)


class InTrackOrder:
    """A segmenter whose queries come in track order: place i is one object from frame to frame.

    Args:
        segmenter: any; its frames must come in order, and `reset` before another video.
        matching: how frames are linked.
    """

    def __init__(self, segmenter: QuerySegmenter, matching: Matching) -> None:
        self.segmenter = segmenter
        self.matching = matching
        self._previous: FrameQueries | None = None

    @property
    def num_classes(self) -> int:
        """K, without the "no object" class."""
        return self.segmenter.num_classes

    @property
    def categories(self) -> dict[int, str]:
        """Class name by 0-based class index."""
        return self.segmenter.categories

    @property
    def short_side(self) -> int | None:
        """The size the network was trained for."""
        return self.segmenter.short_side

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.segmenter.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.segmenter.dtype

    def __call__(
        self, frames: Frames, *, short_side: int | None = None, max_size: int = DEFAULT_MAX_SIZE
    ) -> SegmenterOutput:
        """Queries of the next frames of the video, uint8 [T, H, W, 3], in track order; embeddings are one-hot."""
        output = self.segmenter(frames, short_side=short_side, max_size=max_size)
        ordered = [self._sorted(output, position) for position in range(len(output.class_queries_logits))]
        places = torch.eye(output.class_queries_logits.shape[1], device=output.class_queries_logits.device)
        return replace(
            output,
            class_queries_logits=torch.stack([frame.class_logits for frame in ordered]),
            masks_queries_logits=torch.stack([frame.mask_logits for frame in ordered]),
            query_embeddings=places.expand(len(ordered), -1, -1),
        )

    def _sorted(self, output: SegmenterOutput, position: int) -> FrameQueries:
        frame = FrameQueries(
            output.class_queries_logits[position],
            output.masks_queries_logits[position],
            output.query_embeddings[position],
        )
        if self._previous is not None:
            frame = frame.in_order(match_frames(self._previous, frame, self.matching))
        self._previous = frame
        return frame

    def reset(self) -> None:
        """Forget the video so far, before the first frame of another."""
        self._previous = None
        self.segmenter.reset()

    def save(self, folder: str | Path) -> None:
        """Write the segmenter; the way of matching is no part of its weights."""
        self.segmenter.save(folder)
