"""The image segmenters MinVIS links over time: frames in, queries with classes, masks and embeddings out.

`Mask2FormerSegmenter` is the paper's network (Section 3.1): transformers' modules, run by our leaner forward pass.
Anything with the `QuerySegmenter` face fits the tracker: see `eomt.py` and `videomt.py` for two more.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Mask2FormerForUniversalSegmentation, PreTrainedConfig

from fewmask.errors import CheckpointError, ConfigError, VideoError
from fewmask.media.atomic import write_json
from fewmask.models.deformable_attention import use_fast_deformable_attention
from fewmask.models.masked_attention import ExactPositions, last_layer_queries, mask_logits

if TYPE_CHECKING:
    from fewmask.minvis.eomt import EomtSegmenter
    from fewmask.minvis.videomt import VideomtSegmenter

Frames: TypeAlias = npt.NDArray[np.uint8] | Tensor

SIZE_DIVISOR = 32  # the deepest feature map has stride 32
DEFAULT_SHORT_SIDE = 360  # YouTube-VIS test size with ResNet-50; Swin-L uses 480
DEFAULT_MAX_SIZE = 1333

# transformers remarks that a Mask2Former on ResNet "may not be compatible"; the parity tests show that it is.
logging.getLogger("transformers.models.mask2former.configuration_mask2former").addFilter(
    lambda record: "is not a supported model" not in record.getMessage()
)


@dataclass(frozen=True, slots=True)
class SegmenterOutput:
    """What a segmenter says about T frames, in each frame's own query order.

    Attributes:
        class_queries_logits: [T, Q, K + 1], the last column is "no object".
        masks_queries_logits: [T, Q, h, w], stride 4 of the padded input; at least float32.
        query_embeddings: [T, Q, C], the tracking embedding: normalised decoder output, before the mask MLP.
        padded_size: (H, W) of the network's input, to which masks are up-sampled first.
        image_size: (H, W) of the resized frame inside it (top left), to which masks are cropped next.
    """

    class_queries_logits: Tensor
    masks_queries_logits: Tensor
    query_embeddings: Tensor
    padded_size: tuple[int, int]
    image_size: tuple[int, int]


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


@dataclass(frozen=True, slots=True)
class PixelNormalisation:
    """Per-channel mean and standard deviation of RGB values in 0..255."""

    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)


class WrappedSegmenter(nn.Module):
    """What a segmentation model of transformers says of itself, whichever it is."""

    model: Any

    @property
    def num_classes(self) -> int:
        """K, without the "no object" class."""
        return int(self.model.class_predictor.out_features) - 1

    @property
    def categories(self) -> dict[int, str]:
        """Class name by 0-based class index."""
        return {int(index): str(name) for index, name in self.model.config.id2label.items()}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self._weight.dtype

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = self.model.class_predictor.weight
        return weight


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
            classes, masks, embeddings = self._queries(pixels)
        return SegmenterOutput(
            class_queries_logits=at_least_float32(classes),
            masks_queries_logits=at_least_float32(masks),
            query_embeddings=at_least_float32(embeddings),
            padded_size=(pixels.shape[-2], pixels.shape[-1]),
            image_size=image_size,
        )

    def reset(self) -> None:
        """Nothing: frames do not see one another."""

    def _queries(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Last-layer class logits [T, Q, K + 1], mask logits [T, Q, h, w], embeddings [T, Q, C]."""
        network = self.model.model
        with torch.autocast(pixels.device.type, self.autocast_dtype, enabled=self._backbone_autocast):
            features = network.pixel_level_module.encoder(pixels).feature_maps
        maps = network.pixel_level_module.decoder(features)
        mask_features = maps.mask_features
        decoder = network.transformer_module
        embeddings = last_layer_queries(decoder, list(maps.multi_scale_features), mask_features)
        masks = mask_logits(decoder, embeddings, mask_features)
        with torch.autocast(pixels.device.type, enabled=False):
            return self.model.class_predictor(embeddings), masks, embeddings

    def save(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and preprocessor_config.json, as transformers reads them."""
        self.model.save_pretrained(folder)
        write_preprocessor(Path(folder), self.normalisation, self.short_side)


def resized_size(height: int, width: int, short_side: int | None, max_size: int) -> tuple[int, int]:
    """(H, W) with the shorter side at ``short_side``, the longer at most ``max_size``; halves round up."""
    if short_side is None:
        return height, width
    scale = min(short_side / min(height, width), max_size / max(height, width))
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def prepare_pixels(
    frames: Frames,
    normalisation: PixelNormalisation,
    *,
    short_side: int | None,
    max_size: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, tuple[int, int]]:
    """Frames as network input [T, 3, H, W]: resized, normalised, then zero-padded at the bottom and right.

    Returns:
        The input, its sides multiples of 32, and the (H, W) of the frame inside.

    Raises:
        VideoError: frames are not uint8 [T, H, W, 3].
    """
    images = as_images(frames, device)
    size = resized_size(images.shape[-2], images.shape[-1], short_side, max_size)
    pixels = normalise(resize(images, size), normalisation, dtype)
    pad_bottom, pad_right = -size[0] % SIZE_DIVISOR, -size[1] % SIZE_DIVISOR
    return functional.pad(pixels, (0, pad_right, 0, pad_bottom)), size


def as_images(frames: Frames, device: torch.device) -> Tensor:
    """Frames uint8 [T, H, W, 3] as uint8 [T, 3, H, W].

    Raises:
        VideoError: frames are something else.
    """
    tensor = torch.as_tensor(frames)
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[-1] != 3 or 0 in tensor.shape:
        raise VideoError(f"frames must be uint8 [T, H, W, 3] in RGB, got {tensor.dtype} {list(tensor.shape)}")
    return tensor.to(device).permute(0, 3, 1, 2)


def normalise(images: Tensor, normalisation: PixelNormalisation, dtype: torch.dtype) -> Tensor:
    """Pixels 0..255 [T, 3, H, W] to zero mean and unit variance, as ``dtype``."""
    # Official weights come with float32 statistics; a float64 run that rounds them differently can flip a gate.
    mean = torch.tensor(normalisation.mean, dtype=torch.float32).to(images.device, dtype).view(3, 1, 1)
    std = torch.tensor(normalisation.std, dtype=torch.float32).to(images.device, dtype).view(3, 1, 1)
    return (images.to(dtype) - mean) / std


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images uint8 [T, 3, H, W] at (H, W) ``size``: bilinear with antialiasing, in 8 bits as image libraries do."""
    if size == tuple(images.shape[-2:]):
        return images
    if images.device.type == "cpu":
        return functional.interpolate(images, size, mode="bilinear", antialias=True)
    smooth = functional.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return smooth.round().clamp(0, 255).to(torch.uint8)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it is that."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def write_preprocessor(folder: Path, normalisation: PixelNormalisation, short_side: int | None) -> None:
    """Write preprocessor_config.json: what transformers' image processor does to a frame before a Mask2Former."""
    side = short_side or DEFAULT_SHORT_SIDE
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "Mask2FormerImageProcessor",
            "do_resize": short_side is not None,
            "size": {"shortest_edge": side, "longest_edge": DEFAULT_MAX_SIZE},
            "size_divisor": SIZE_DIVISOR,
            "resample": 2,  # bilinear
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [value / 255 for value in normalisation.mean],
            "image_std": [value / 255 for value in normalisation.std],
            "ignore_index": 255,
            "do_reduce_labels": False,
        },
        indent=2,
    )


def load_segmenter(
    name_or_folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    autocast_dtype: torch.dtype | None = None,
) -> QuerySegmenter:
    """A segmenter from a folder as `save` or transformers writes it, or from a hub name.

    Raises:
        CheckpointError: there is no such folder or model, or it is no Mask2Former, EoMT or VidEoMT.
    """
    name = str(name_or_folder)
    try:
        config, _ = PreTrainedConfig.get_config_dict(name)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name}: no config.json of a model here or on the hub ({_first_line(error)})") from error
    segmenter: Mask2FormerSegmenter | EomtSegmenter | VideomtSegmenter
    if config.get("model_type") == "mask2former":
        model = read_weights(Mask2FormerForUniversalSegmentation, name, dtype)
        normalisation, short_side = read_preprocessor(name)
        segmenter = Mask2FormerSegmenter(
            model, normalisation=normalisation, short_side=short_side, autocast_dtype=autocast_dtype
        )
    elif config.get("model_type") == "eomt":
        from fewmask.minvis.eomt import read_eomt

        segmenter = read_eomt(name, dtype=dtype, autocast_dtype=autocast_dtype)
    elif config.get("model_type") == "videomt":
        from fewmask.minvis.videomt import read_videomt

        segmenter = read_videomt(name, dtype=dtype, autocast_dtype=autocast_dtype)
    else:
        raise CheckpointError(f"{name}: a {config.get('model_type')!r} model, expected mask2former, eomt or videomt")
    return segmenter.to(device)


def read_weights(kind: Any, name: str, dtype: torch.dtype) -> Any:
    """The transformers model of class ``kind`` from a folder or hub name; safetensors only.

    Raises:
        CheckpointError: the weights are missing or do not fit.
    """
    try:
        return kind.from_pretrained(name, dtype=dtype, use_safetensors=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{name}: weights cannot be loaded ({_first_line(error)})") from error


def read_preprocessor(name_or_folder: str) -> tuple[PixelNormalisation, int | None]:
    """Pixel normalisation and short side from a model's preprocessor_config.json; defaults where there is none.

    Raises:
        ConfigError: the file lacks what it should say.
    """
    from transformers import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(name_or_folder)
    except (OSError, ValueError):
        return PixelNormalisation(), DEFAULT_SHORT_SIDE
    mean, std = settings.get("image_mean"), settings.get("image_std")
    if mean is None or std is None or len(mean) != 3 or len(std) != 3:
        raise ConfigError(f"{name_or_folder}: preprocessor_config.json needs image_mean and image_std of 3 numbers")
    normalisation = PixelNormalisation(mean=_times_255(mean), std=_times_255(std))
    if not settings.get("do_resize", True):
        return normalisation, None
    size = settings.get("size")
    side = size.get("shortest_edge") if isinstance(size, Mapping) else None
    return normalisation, int(side) if side else DEFAULT_SHORT_SIDE


def _times_255(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) * 255 for value in values)
    return red, green, blue


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
