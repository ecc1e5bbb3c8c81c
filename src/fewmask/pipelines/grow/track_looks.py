"""What a track looks like, as one vector: masked pictures of it through a frozen backbone and the clip encoder.

The backbone (ImageNet features) knows kinds of things, the clip encoder, taught on unlabelled videos, what stays the
same while a thing moves. Each gives a unit vector per track; they are put side by side with equal weight, so that the
cosine of two tracks is the mean of the two cosines.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fewmask.media.frame_source import RgbImage
from fewmask.pipelines.grow.track_views import strip
from fewmask.retrieval.fixed_features import ClipEmbedder

VIEWS = 5
"""Pictures per track, as many as a clip has."""
AT_ONCE = 16

Vectors = npt.NDArray[np.float32]


class TrackLooks:
    """Embeds tracks.

    Args:
        embedders: at least one (`fewmask.retrieval.embedders.load_embedder`), each weighing the same.
    """

    def __init__(self, embedders: Sequence[ClipEmbedder]) -> None:
        self._embedders = tuple(embedders)

    @property
    def name(self) -> str:
        """Tells vectors that can be compared from others."""
        return "+".join(embedder.name for embedder in self._embedders)

    @property
    def dimension(self) -> int:
        """Size of a vector."""
        return sum(embedder.dimension for embedder in self._embedders)

    def embed(self, tracks: Sequence[Sequence[RgbImage]]) -> Vectors:
        """Unit vectors [N, dimension] of tracks, each given by pictures of its object (`object_picture`)."""
        parts = [self._embed(tracks[start : start + AT_ONCE]) for start in range(0, len(tracks), AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32)

    def _embed(self, tracks: Sequence[Sequence[RgbImage]]) -> Vectors:
        clips = np.stack([np.stack(strip(pictures, VIEWS)) for pictures in tracks])
        vectors = [embedder.embed(clips) for embedder in self._embedders]
        return np.concatenate(vectors, axis=1) / np.float32(np.sqrt(len(vectors)))
