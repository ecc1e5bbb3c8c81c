"""A segmenter from a folder of transformers or a hub name: config.json tells which network it is."""

from pathlib import Path
from typing import Protocol

import torch
from transformers import PreTrainedConfig

from fewmask.errors import CheckpointError
from fewmask.minvis.eomt import read_eomt
from fewmask.minvis.mask2former import read_mask2former
from fewmask.minvis.segmenter import QuerySegmenter
from fewmask.minvis.videomt import read_videomt
from fewmask.minvis.wrapped import first_line


class Reader(Protocol):
    """Makes a segmenter of a folder or hub name."""

    def __call__(
        self, name: str, *, device: str | torch.device, dtype: torch.dtype, autocast_dtype: torch.dtype | None
    ) -> QuerySegmenter:
        """See `load_segmenter`."""


READERS: dict[str, Reader] = {"mask2former": read_mask2former, "eomt": read_eomt, "videomt": read_videomt}
"""By ``model_type`` of config.json."""


def load_segmenter(
    name_or_folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    autocast_dtype: torch.dtype | None = None,
) -> QuerySegmenter:
    """A segmenter from a folder as `save` or transformers writes it, or from a hub name.

    Raises:
        CheckpointError: there is no such folder or model, or it is of none of `READERS`.
    """
    name = str(name_or_folder)
    try:
        config, _ = PreTrainedConfig.get_config_dict(name)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name}: no config.json of a model here or on the hub ({first_line(error)})") from error
    kind = config.get("model_type")
    if kind not in READERS:
        *most, last = READERS
        raise CheckpointError(f"{name}: a {kind!r} model, expected {', '.join(most)} or {last}")
    return READERS[kind](name, device=device, dtype=dtype, autocast_dtype=autocast_dtype)
