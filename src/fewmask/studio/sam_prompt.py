"""Masks by a click or a box: any SAM or SAM 2 of transformers, or MobileSAM's own file."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from fewmask.errors import CheckpointError
from fewmask.media import rle
from fewmask.media.frame_source import RgbImage
from fewmask.media.rle import Rle
from fewmask.models.mobile_sam import MobileSam

BoolMask = npt.NDArray[np.bool_]
Point = tuple[float, float, bool]
Box = tuple[float, float, float, float]
_KEPT = 8  # pictures whose embedding is kept


class Prompted(Protocol):
    """What both networks can do."""

    def embed(self, rgb: RgbImage) -> Any:
        """What `mask` needs of a picture uint8 [H, W, 3]."""
        ...

    def mask(self, embedding: Any, size: tuple[int, int], *, points: Sequence[Point], box: Box | None) -> BoolMask:
        """The object that points (x, y, inside) and a box (left, top, right, bottom) speak of, bool [H, W]."""
        ...


class SamPrompt:
    """Loads its network with the first question, and keeps what it saw of the last pictures."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._network: Prompted | None = None
        self._seen: OrderedDict[tuple[Path, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, video: Path, index: int, rgb: RgbImage, points: Sequence[Point], box: Box | None) -> Rle:
        """The mask for a click or a box in frame ``index`` of ``video``.

        Raises:
            CheckpointError: the weights cannot be loaded.
        """
        with self._lock:
            if self._network is None:
                self._network = load_prompted(self._weights)
            key = (video, index)
            if key not in self._seen:
                self._seen[key] = self._network.embed(rgb)
                while len(self._seen) > _KEPT:
                    self._seen.popitem(last=False)
            size = (rgb.shape[0], rgb.shape[1])
            return rle.encode(self._network.mask(self._seen[key], size, points=points, box=box))


class TransformersSam:
    """SAM or SAM 2 as transformers saves them."""

    def __init__(self, folder: Path) -> None:
        """Load it.

        Raises:
            CheckpointError: the folder holds no such network.
        """
        from transformers import AutoConfig, AutoProcessor, Sam2Model, SamModel

        try:
            kind = AutoConfig.from_pretrained(folder).model_type
            network: Any = {"sam": SamModel, "sam2": Sam2Model, "sam2_video": Sam2Model}[kind]
            self._model = network.from_pretrained(folder).eval()
            self._processor: Any = AutoProcessor.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{folder}: no SAM or SAM 2 of transformers ({reason})") from error

    @torch.no_grad()
    def embed(self, rgb: RgbImage) -> Any:
        """See `Prompted`."""
        inputs = self._processor(images=rgb, return_tensors="pt")
        return self._model.get_image_embeddings(inputs["pixel_values"]), inputs["original_sizes"]

    @torch.no_grad()
    def mask(self, embedding: Any, size: tuple[int, int], *, points: Sequence[Point], box: Box | None) -> BoolMask:
        """See `Prompted`."""
        seen, sizes = embedding
        prompts: dict[str, Any] = {}
        if points:
            prompts["input_points"] = [[[[x, y] for x, y, _ in points]]]
            prompts["input_labels"] = [[[int(inside) for _, _, inside in points]]]
        if box is not None:
            prompts["input_boxes"] = [[list(box)]]
        blank = np.zeros((*size, 3), np.uint8)
        inputs = self._processor(images=blank, return_tensors="pt", **prompts)
        asked = {name: value for name, value in inputs.items() if name.startswith("input_")}
        found = self._model(image_embeddings=seen, multimask_output=box is None and len(points) == 1, **asked)
        best = int(found.iou_scores[0, 0].argmax())
        extra = {} if "reshaped_input_sizes" not in inputs else {"reshaped_input_sizes": inputs["reshaped_input_sizes"]}
        masks = self._processor.post_process_masks(found.pred_masks, sizes, **extra)[0]
        return np.asarray(masks[0, best].numpy(), dtype=bool)


def load_prompted(weights: Path) -> Prompted:
    """The network in a folder of transformers or in MobileSAM's file.

    Raises:
        CheckpointError: neither.
    """
    return TransformersSam(weights) if weights.is_dir() else MobileSam.from_file(weights)
