"""`Mask2FormerSegmenter`, the paper's network (Section 3.1): transformers' modules, run by our leaner forward pass."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Mask2FormerForUniversalSegmentation

from fewmask.errors import ConfigError
from fewmask.minvis.pixels import DEFAULT_MAX_SIZE, DEFAULT_SHORT_SIDE, Frames, PixelNormalisation, prepare_pixels
from fewmask.minvis.preprocessor import read_preprocessor, write_preprocessor
from fewmask.minvis.segmenter import SegmenterOutput, at_least_float32
from fewmask.minvis.wrapped import WrappedSegmenter, read_weights
from fewmask.models.deformable_attention import use_fast_deformable_attention
from fewmask.models.masked_attention import ExactPositions, last_layer_queries, mask_logits
from fewmask.models.other_runtimes import ConvertedNetwork, Graph

OUTPUTS = ("classes", "masks", "embeddings")

# transformers remarks that a Mask2Former on ResNet "may not be compatible"; the parity tests show that it is.
logging.getLogger("transformers.models.mask2former.configuration_mask2former").addFilter(
    lambda record: "is not a supported model" not in record.getMessage()
)


class Mask2FormerSegmenter(WrappedSegmenter):
    """Mask2Former as an image segmenter: any transformers model of that class, whatever its backbone.

    Args:
        model: a built model, post-norm; a custom backbone may sit at ``model.model.pixel_level_module.encoder``. Its
            deformable attention is replaced by an equal one that is faster; names of parameters stay.
        normalisation: of the input pixels.
        short_side: the size the weights were trained for. It is a property for callers to pass on: a call resizes
            only when told to.
        autocast_dtype: run matrix products in this type (``torch.bfloat16``) and keep positions, gates, norms and
            the returned tensors in float32; None = everything in the weights' type.
        autocast_backbone: let ``autocast_dtype`` reach the backbone too. Faster, but nearly all of the difference to
            float32 masks comes from there: on DAVIS frames the small network's ten best masks in bfloat16 keep an IoU
            of 0.975 with it and 0.991 without.

    Raises:
        ConfigError: a pre-norm model, or weights in half precision.
    """

    def __init__(
        self,
        model: Mask2FormerForUniversalSegmentation,
        *,
        normalisation: PixelNormalisation | None = None,
        short_side: int | None = DEFAULT_SHORT_SIDE,
        autocast_dtype: torch.dtype | None = None,
        autocast_backbone: bool = False,
    ) -> None:
        super().__init__()
        self._converted: ConvertedNetwork | None = None
        if model.config.pre_norm:
            raise ConfigError("a pre-norm Mask2Former is not supported; published ones are post-norm")
        if model.dtype not in {torch.float32, torch.float64}:
            raise ConfigError(
                f"weights are {model.dtype}, not float32 or float64; use autocast_dtype for half precision"
            )
        self.model = model.eval()
        use_fast_deformable_attention(model)
        pixel_decoder = model.model.pixel_level_module.decoder
        pixel_decoder.position_embedding = ExactPositions(model.config.feature_size)
        self.normalisation = normalisation or PixelNormalisation()
        self.short_side = short_side
        self.autocast_dtype = autocast_dtype
        self._backbone_autocast = autocast_backbone and autocast_dtype is not None

    @torch.inference_mode()
    def forward(
        self, frames: Frames, *, short_side: int | None = None, max_size: int = DEFAULT_MAX_SIZE
    ) -> SegmenterOutput:
        """Queries of every frame; frames do not see one another.

        Args:
            frames: uint8 [T, H, W, 3], RGB; all T go through the network at once.
            short_side: resize so that the shorter side has this many pixels; None = no resizing.
            max_size: the longer side stays below this, by a smaller scale if need be.

        Raises:
            VideoError: frames are not uint8 [T, H, W, 3].
        """
        pixels, image_size = prepare_pixels(
            frames, self.normalisation, short_side=short_side, max_size=max_size, device=self.device, dtype=self.dtype
        )
        with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
            classes, masks, embeddings = self._queries(pixels) if self._converted is None else self._converted(pixels)
        return SegmenterOutput(
            class_queries_logits=at_least_float32(classes),
            masks_queries_logits=at_least_float32(masks),
            query_embeddings=at_least_float32(embeddings),
            padded_size=(pixels.shape[-2], pixels.shape[-1]),
            image_size=image_size,
        )

    def reset(self) -> None:
        """Nothing: frames do not see one another."""

    def compute_with(self, runtime: str) -> None:
        """Let onnxruntime or openvino compute the network from now on; weights are those of now.

        Raises:
            ConfigError: it is not installed, the network is not on the CPU, or as `graph`.
        """
        graph, bfloat16 = self.graph(), self.autocast_dtype == torch.bfloat16
        self._converted = ConvertedNetwork(lambda: graph, runtime, self.device, bfloat16=bfloat16)

    def graph(self) -> Graph:
        """From normalised images to class logits, mask logits and embeddings of the queries, in float32.

        Raises:
            ConfigError: its queries look at many frames.
        """
        if type(self)._queries is not Mask2FormerSegmenter._queries:
            raise ConfigError("other runtimes compute networks that see frames one by one; this one sees many")
        return Graph(_Queries(self), OUTPUTS)

    def _queries(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Last-layer class logits [T, Q, K + 1], mask logits [T, Q, h, w], embeddings [T, Q, C]."""
        return self._decoded(pixels, together=False)

    def _decoded(self, pixels: Tensor, *, together: bool) -> tuple[Tensor, Tensor, Tensor]:
        network = self.model.model
        with torch.autocast(pixels.device.type, self.autocast_dtype, enabled=self._backbone_autocast):
            features = network.pixel_level_module.encoder(pixels).feature_maps
        maps = network.pixel_level_module.decoder(features)
        mask_features = maps.mask_features
        decoder = network.transformer_module
        embeddings = last_layer_queries(decoder, list(maps.multi_scale_features), mask_features, together=together)
        embeddings = embeddings.expand(len(pixels), -1, -1)
        masks = mask_logits(decoder, embeddings, mask_features)
        with torch.autocast(pixels.device.type, enabled=False):
            return self.model.class_predictor(embeddings), masks, embeddings

    def save(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and preprocessor_config.json, as transformers reads them."""
        self.model.save_pretrained(folder)
        write_preprocessor(Path(folder), self.normalisation, self.short_side)


class _Queries(nn.Module):
    """`Mask2FormerSegmenter` from pixels to queries, as tracing wants it."""

    def __init__(self, segmenter: Mask2FormerSegmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.segmenter._queries(images)


def read_mask2former(
    name: str, *, device: str | torch.device, dtype: torch.dtype, autocast_dtype: torch.dtype | None
) -> Mask2FormerSegmenter:
    """A Mask2Former from a folder or hub name.

    Raises:
        CheckpointError: the weights are missing or do not fit.
    """
    model = read_weights(Mask2FormerForUniversalSegmentation, name, dtype)
    normalisation, short_side = read_preprocessor(name)
    return Mask2FormerSegmenter(
        model, normalisation=normalisation, short_side=short_side, autocast_dtype=autocast_dtype
    ).to(device)
