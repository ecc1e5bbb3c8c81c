"""What a segmentation model of transformers says of itself, and its weights from a folder or the hub."""

from typing import Any

import torch
from torch import Tensor, nn

from fewmask.errors import CheckpointError


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


def read_weights(kind: Any, name: str, dtype: torch.dtype) -> Any:
    """The transformers model of class ``kind`` from a folder or hub name; safetensors only.

    Raises:
        CheckpointError: the weights are missing or do not fit.
    """
    try:
        return kind.from_pretrained(name, dtype=dtype, use_safetensors=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{name}: weights cannot be loaded ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    """What an exception of another library says, without the lines of advice below."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
