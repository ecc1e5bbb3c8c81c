"""Masks of boxes, from SAM-like models: MobileSAM's own file, or any model of that family that transformers loads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fewmask.errors import CheckpointError
from fewmask.models.mobile_sam import MobileSam


@dataclass(frozen=True)
class PromptedMasks:
    """``masks`` bool [n, H, W] and ``quality`` float32 [n], the IoU that the model expects of each."""

    masks: npt.NDArray[np.bool_]
    quality: npt.NDArray[np.float32]


class BoxPrompted(Protocol):
    """A model that draws what lies in a box."""

    def masks(self, rgb: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32]) -> PromptedMasks:
        """One mask for each of ``boxes`` [n, 4] (x0, y0, x1, y1 in pixels) of a picture uint8 [H, W, 3]."""
        ...


def load_box_prompted(name: str | Path, *, side: int = 512, device: str = "cpu") -> BoxPrompted:
    """MobileSAM from its file, or a model of transformers from a folder or the hub.

    Args:
        side: longer side of MobileSAM's input; others have their own.

    Raises:
        CheckpointError: nothing of the kind is there.
    """
    if Path(name).is_file():
        return MobileSamBoxes(MobileSam.from_file(Path(name), side=side), device)
    return TransformersSam(str(name), device=device)


class MobileSamBoxes:
    """MobileSAM as `BoxPrompted`; see `fewmask.models.mobile_sam`."""

    def __init__(self, network: MobileSam, device: str) -> None:
        self._network = network.to(device)
        self._device = device

    @torch.inference_mode()
    def masks(self, rgb: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32]) -> PromptedMasks:
        """See `BoxPrompted`."""
        size = (rgb.shape[0], rgb.shape[1])
        if not len(boxes):
            return PromptedMasks(np.zeros((0, *size), bool), np.zeros(0, np.float32))
        side = self._network.side
        rows, columns = self._network.seen_size(size)
        prompts = torch.from_numpy(boxes * (side / max(size))).float()[None].to(self._device)
        found = self._network.sam(
            image_embeddings=self._network.embed(rgb), input_boxes=prompts, multimask_output=False
        )
        logits = nn.functional.interpolate(found.pred_masks[0], (side, side), mode="bilinear", align_corners=False)
        sized = nn.functional.interpolate(logits[..., :rows, :columns], size, mode="bilinear", align_corners=False)
        return PromptedMasks((sized[:, 0] > 0).cpu().numpy(), found.iou_scores[0, :, 0].float().cpu().numpy())


class TransformersSam:
    """A model of transformers that takes boxes: SAM, SAM-HQ, SAM 2 and their relatives.

    Args:
        name: folder or hub name.
        device: where it runs.

    Raises:
        CheckpointError: it cannot be loaded.
    """

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        from transformers import AutoModelForMaskGeneration, AutoProcessor

        try:
            self._processor: Any = AutoProcessor.from_pretrained(name)
            self._model: Any = AutoModelForMaskGeneration.from_pretrained(name).eval().to(device)
        except (OSError, ValueError, KeyError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{name}: not a SAM-like model here or on the hub ({reason})") from error
        self._device = device

    @torch.inference_mode()
    def masks(self, rgb: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32]) -> PromptedMasks:
        """See `BoxPrompted`."""
        if not len(boxes):
            return PromptedMasks(np.zeros((0, *rgb.shape[:2]), bool), np.zeros(0, np.float32))
        inputs = self._processor(images=rgb, input_boxes=[boxes.astype(float).tolist()], return_tensors="pt")
        inputs = {key: value.float() if value.dtype == torch.float64 else value for key, value in inputs.items()}
        sizes = [inputs.pop("original_sizes")]
        if "reshaped_input_sizes" in inputs:  # SAM 2 squeezes pictures into its square, SAM pads them
            sizes.append(inputs.pop("reshaped_input_sizes"))
        found = self._model(**{key: value.to(self._device) for key, value in inputs.items()}, multimask_output=False)
        masks = self._processor.image_processor.post_process_masks(found.pred_masks.float().cpu(), *sizes)[0]
        return PromptedMasks(
            masks[:, 0].bool().numpy(), found.iou_scores.reshape(len(boxes), -1)[:, 0].float().cpu().numpy()
        )
