"""preprocessor_config.json: what transformers' image processor does to a frame, read and written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import ImageProcessingMixin

from fewmask.errors import ConfigError
from fewmask.media.atomic import write_json
from fewmask.minvis.pixels import DEFAULT_MAX_SIZE, DEFAULT_SHORT_SIDE, SIZE_DIVISOR, PixelNormalisation


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


def read_preprocessor(name_or_folder: str) -> tuple[PixelNormalisation, int | None]:
    """Pixel normalisation and short side from a model's preprocessor_config.json; defaults where there is none.

    Raises:
        ConfigError: the file lacks what it should say.
    """
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
