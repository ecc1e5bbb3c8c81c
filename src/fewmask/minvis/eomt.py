"""EoMT, a plain vision transformer with queries among its tokens, as an image segmenter for MinVIS.

Its queries make masks as Mask2Former's do, an inner product with features of the whole map, which is the condition
under which embeddings link over time (Section 3.2). The tracking embedding is the query token after the last
LayerNorm, before the mask head, as in Mask2Former.
"""

from pathlib import Path

import torch
from torch.nn import functional
from transformers import EomtForUniversalSegmentation

from fewmask.minvis.pixels import DEFAULT_MAX_SIZE, Frames, PixelNormalisation, as_images, normalise, resize
from fewmask.minvis.preprocessor import read_preprocessor
from fewmask.minvis.segmenter import SegmenterOutput, at_least_float32
from fewmask.minvis.wrapped import WrappedSegmenter, read_weights


class EomtSegmenter(WrappedSegmenter):
    """EoMT as an image segmenter; it sees square inputs of one size, so frames are always resized.

    Args:
        model: of transformers.
        normalisation: of the input pixels.
        autocast_dtype: run matrix products in this type; None = everything in the weights' type.
    """

    short_side = None  # the input size is the network's, no choice of the caller's

    def __init__(
        self,
        model: EomtForUniversalSegmentation,
        *,
        normalisation: PixelNormalisation | None = None,
        autocast_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self.normalisation = normalisation or PixelNormalisation()
        self.autocast_dtype = autocast_dtype

    @torch.inference_mode()
    def forward(
        self,
        frames: Frames,
        *,
        short_side: int | None = None,  # noqa: ARG002
        max_size: int = DEFAULT_MAX_SIZE,  # noqa: ARG002
    ) -> SegmenterOutput:
        """Queries of every frame; frames do not see one another.

        Args:
            frames: uint8 [T, H, W, 3], RGB.
            short_side: has no effect: the longer side becomes the network's input size.
            max_size: has no effect.

        Raises:
            VideoError: frames are not uint8 [T, H, W, 3].
        """
        images = as_images(frames, self.device)
        side = int(self.model.config.image_size)
        scale = side / max(images.shape[-2:])
        height, width = (max(round(length * scale), 1) for length in images.shape[-2:])
        # Black padding, before normalisation, as the network was trained with.
        padded = functional.pad(resize(images, (height, width)), (0, side - width, 0, side - height))
        pixels = normalise(padded, self.normalisation, self.dtype)
        with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
            output = self.model(pixels)
        return SegmenterOutput(
            class_queries_logits=at_least_float32(output.class_queries_logits),
            masks_queries_logits=at_least_float32(output.masks_queries_logits),
            query_embeddings=at_least_float32(output.last_hidden_state[:, : self.model.config.num_queries]),
            padded_size=(side, side),
            image_size=(height, width),
        )

    def reset(self) -> None:
        """Nothing: frames do not see one another."""

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, as transformers reads them."""
        self.model.save_pretrained(folder)


def read_eomt(
    name: str, *, device: str | torch.device, dtype: torch.dtype, autocast_dtype: torch.dtype | None
) -> EomtSegmenter:
    """An EoMT from a folder or hub name.

    Raises:
        CheckpointError: the weights are missing or do not fit.
    """
    model = read_weights(EomtForUniversalSegmentation, name, dtype)
    normalisation, _ = read_preprocessor(name)
    return EomtSegmenter(model, normalisation=normalisation, autocast_dtype=autocast_dtype).to(device)
