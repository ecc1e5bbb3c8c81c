"""VidEoMT, whose queries carry an object from frame to frame themselves, as a stream.

transformers runs it on whole clips and numbers the instances of each frame anew. Here frames come in pieces of any
length, the queries are handed on from piece to piece, and the identity of an object is the index of its query: the
tracking embedding says just that, so every tracker that matches embeddings keeps it.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import VideomtForUniversalSegmentation

from fewmask.minvis.pixels import DEFAULT_MAX_SIZE, Frames, PixelNormalisation, as_images, normalise, resize
from fewmask.minvis.preprocessor import read_preprocessor
from fewmask.minvis.segmenter import SegmenterOutput, at_least_float32
from fewmask.minvis.wrapped import WrappedSegmenter, read_weights


class VideomtSegmenter(WrappedSegmenter):
    """VidEoMT over a stream: call it with the frames in order, and `reset` it before another video.

    Args:
        model: of transformers.
        normalisation: of the input pixels.
        autocast_dtype: run matrix products in this type; None = everything in the weights' type.
    """

    short_side = None  # the input size is the network's, no choice of the caller's

    def __init__(
        self,
        model: VideomtForUniversalSegmentation,
        *,
        normalisation: PixelNormalisation | None = None,
        autocast_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self.normalisation = normalisation or PixelNormalisation()
        self.autocast_dtype = autocast_dtype
        self._carried: Tensor | None = None  # [1, Q, C], the last frame's queries

    @torch.inference_mode()
    def forward(
        self,
        frames: Frames,
        *,
        short_side: int | None = None,  # noqa: ARG002
        max_size: int = DEFAULT_MAX_SIZE,  # noqa: ARG002
    ) -> SegmenterOutput:
        """Queries of the next frames of the video; ``query_embeddings`` are one-hot, the query's index.

        Args:
            frames: uint8 [T, H, W, 3], RGB, resized to the network's square without keeping their proportions.
            short_side: has no effect.
            max_size: has no effect.

        Raises:
            VideoError: frames are not uint8 [T, H, W, 3].
        """
        side = int(self.model.config.image_size)
        images = resize(as_images(frames, self.device), (side, side))
        pixels = normalise(images, self.normalisation, self.dtype)
        with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
            classes, masks = self._next_frames(pixels)
        queries = classes.shape[1]
        index = torch.eye(queries, device=self.device).expand(len(images), queries, queries)
        return SegmenterOutput(
            class_queries_logits=at_least_float32(classes),
            masks_queries_logits=at_least_float32(masks),
            query_embeddings=index,
            padded_size=(side, side),
            image_size=(side, side),
        )

    def _next_frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [T, Q, K + 1] and mask logits [T, Q, h, w]; keeps the last frame's queries."""
        model = self.model
        first_with_queries = model.config.num_hidden_layers - model.config.num_blocks
        tokens = model.embeddings(pixels)  # these layers see each frame alone, all frames at once
        for layer in model.layers[:first_with_queries]:
            tokens = layer(tokens)
        learned = model.query.weight[None]  # [1, Q, C]
        classes, masks = [], []
        for frame in tokens.split(1):
            queries = learned if self._carried is None else model.query_updater(self._carried) + learned
            joint = torch.cat((queries, frame), dim=1)
            for layer in model.layers[first_with_queries:]:
                joint = layer(joint)
            self._carried = joint[:, : learned.shape[1]]
            mask_logits, class_logits = model.predict(model.layernorm(joint))
            masks.append(mask_logits)
            classes.append(class_logits)
        return torch.cat(classes), torch.cat(masks)

    def reset(self) -> None:
        """Forget the video so far, before the first frame of another."""
        self._carried = None

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, as transformers reads them."""
        self.model.save_pretrained(folder)


def read_videomt(
    name: str, *, device: str | torch.device, dtype: torch.dtype, autocast_dtype: torch.dtype | None
) -> VideomtSegmenter:
    """A VidEoMT from a folder or hub name.

    Raises:
        CheckpointError: the weights are missing or do not fit.
    """
    model = read_weights(VideomtForUniversalSegmentation, name, dtype)
    normalisation, _ = read_preprocessor(name)
    return VideomtSegmenter(model, normalisation=normalisation, autocast_dtype=autocast_dtype).to(device)
