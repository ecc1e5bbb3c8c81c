"""Mask2Former for videos, the baseline that MinVIS is compared with: one set of queries looks at a whole clip.

Within a window a query is one object in all frames by construction, and nothing is linked. Longer videos go through in
windows; where one follows another, the tracker matches queries by their embeddings, as the paper has it for OVIS
(Mask2Former-VIS*, windows of 30 frames that do not overlap). With ``overlap``, a window also looks at the last frames
of the one before, so that objects meet the same pictures on both sides of the seam.

Weights are those of an image Mask2Former, from which the video model starts its training too. Training on clips is the
video model's own and not done here: figures of this baseline are those of image weights that look at clips.
"""

import torch
from torch import Tensor

from fewmask.errors import ConfigError
from fewmask.minvis.mask2former import Mask2FormerSegmenter
from fewmask.minvis.pixels import DEFAULT_MAX_SIZE, Frames
from fewmask.minvis.segmenter import SegmenterOutput


class ClipMask2Former(Mask2FormerSegmenter):
    """Call it with the frames in order, and `reset` it before another video.

    Args:
        segmenter: an image segmenter; its network is shared, not copied.
        window: frames that queries look at together, without the overlap. A call begins a window and is cut into more
            if it has more frames, so give it multiples of this.
        overlap: frames before the window that it looks at too.

    Raises:
        ConfigError: no frame in a window, or a negative overlap.
    """

    def __init__(self, segmenter: Mask2FormerSegmenter, *, window: int = 30, overlap: int = 0) -> None:
        if window < 1 or overlap < 0:
            raise ConfigError(f"window {window} must be at least 1 and overlap {overlap} at least 0")
        super().__init__(
            segmenter.model, normalisation=segmenter.normalisation, short_side=segmenter.short_side,
            autocast_dtype=segmenter.autocast_dtype, autocast_backbone=segmenter._backbone_autocast,
        )  # fmt: skip
        self.window, self.overlap = window, overlap
        self._before: Tensor | None = None

    def reset(self) -> None:
        """Forget the frames before the next window."""
        self._before = None

    @torch.inference_mode()
    def forward(
        self, frames: Frames, *, short_side: int | None = None, max_size: int = DEFAULT_MAX_SIZE
    ) -> SegmenterOutput:
        """Queries of the next frames; class logits and embeddings are the same in all frames of a window.

        Args:
            frames: uint8 [T, H, W, 3], RGB.
            short_side: see `Mask2FormerSegmenter`.
            max_size: likewise.

        Raises:
            VideoError: frames are not uint8 [T, H, W, 3].
        """
        images = torch.as_tensor(frames)
        parts = []
        for start in range(0, max(1, len(images)), self.window):
            piece = images[start : start + self.window]
            seen = piece if self._before is None else torch.cat([self._before, piece])
            output = super().forward(seen, short_side=short_side, max_size=max_size)
            context = len(seen) - len(piece)
            parts.append(
                SegmenterOutput(
                    output.class_queries_logits[context:],
                    output.masks_queries_logits[context:],
                    output.query_embeddings[context:],
                    output.padded_size,
                    output.image_size,
                )
            )
            self._before = seen[-self.overlap :] if self.overlap else None
        return SegmenterOutput(
            torch.cat([part.class_queries_logits for part in parts]),
            torch.cat([part.masks_queries_logits for part in parts]),
            torch.cat([part.query_embeddings for part in parts]),
            parts[0].padded_size,
            parts[0].image_size,
        )

    def _queries(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self._decoded(pixels, together=True)
