"""The socket of the tracker: what an image segmenter takes and gives, whichever network is in it.

`mask2former.py` holds the paper's network (Section 3.1), `eomt.py` and `videomt.py` two more; `loading.py` tells which
one a folder or a hub name is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from fewmask.minvis.pixels import DEFAULT_MAX_SIZE, Frames


@dataclass(frozen=True, slots=True)
class SegmenterOutput:
    """What a segmenter says about T frames, in each frame's own query order.

    Attributes:
        class_queries_logits: [T, Q, K + 1], the last column is "no object".
        masks_queries_logits: [T, Q, h, w], stride 4 of the padded input; at least float32.
        query_embeddings: [T, Q, C], the tracking embedding: normalised decoder output, before the mask MLP.
        padded_size: (H, W) of the network's input, to which masks are up-sampled first.
        image_size: (H, W) of the resized frame inside it (top left), to which masks are cropped next.
        name_logits: [T, Q, names], where the class logits tell a name only when it is sure; None = they tell all.
    """

    class_queries_logits: Tensor
    masks_queries_logits: Tensor
    query_embeddings: Tensor
    padded_size: tuple[int, int]
    image_size: tuple[int, int]
    name_logits: Tensor | None = None

    def name_probabilities(self, frame: int) -> Tensor:
        """What each query of a frame is, if it is anything: probabilities [Q, names] without "no object"."""
        if self.name_logits is not None:
            return self.name_logits[frame].float().softmax(-1)
        return self.class_queries_logits[frame, :, :-1].float().softmax(-1)


class QuerySegmenter(Protocol):
    """The socket of the tracker: per-frame queries from RGB frames."""

    @property
    def num_classes(self) -> int:
        """K, without the "no object" class."""

    @property
    def categories(self) -> dict[int, str]:
        """Class name by 0-based class index."""

    @property
    def short_side(self) -> int | None:
        """The size the network was trained for, to pass to a call; None = frames as they are."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""

    def __call__(
        self, frames: Frames, *, short_side: int | None = None, max_size: int = DEFAULT_MAX_SIZE
    ) -> SegmenterOutput:
        """Queries of ``frames`` uint8 [T, H, W, 3], RGB."""

    def reset(self) -> None:
        """Forget the video so far, before the first frame of another; image segmenters have nothing to forget."""

    def save(self, folder: str | Path) -> None:
        """Write the weights and what describes them, as `fewmask.minvis.pretrained.load` reads them."""


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it is that."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
