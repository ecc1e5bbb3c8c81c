"""Proposals from the SAM family's automatic masks, through transformers' mask-generation pipeline."""

from pathlib import Path
from typing import Any

import numpy as np

from fewmask.errors import CheckpointError
from fewmask.mining.proposals import BoolMasks, RgbImage, Scores


class SamProposals:
    """A `Proposer`: a grid of point prompts, duplicates removed by the pipeline."""

    def __init__(self, model: str | Path, *, points_per_side: int = 16, device: str = "cpu") -> None:
        """Load a SAM or SAM 2 model.

        Args:
            model: a folder saved by transformers, or a model id of the hub.
            points_per_side: the grid; more finds smaller things and takes longer, quadratically.
            device: where it runs.

        Raises:
            CheckpointError: the model cannot be had.
        """
        from transformers import pipeline

        try:
            self._pipeline: Any = pipeline("mask-generation", model=str(model), device=device)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(f"{model}: no SAM model of transformers ({reason})") from error
        self._grid = {"points_per_batch": 64, "crops_n_layers": 0, "points_per_crop": points_per_side}

    def propose(self, rgb: RgbImage) -> tuple[BoolMasks, Scores]:
        """See `Proposer`; scores are SAM's own estimate of the IoU."""
        from PIL import Image

        found = self._pipeline(Image.fromarray(rgb), pred_iou_thresh=0.0, **self._grid)
        masks = [np.asarray(mask, dtype=bool) for mask in found["masks"]]
        stacked = np.stack(masks) if masks else np.zeros((0, *rgb.shape[:2]), dtype=bool)
        return stacked, np.asarray([float(score) for score in found["scores"]])
