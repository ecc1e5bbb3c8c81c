"""Proposals from a class-agnostic Mask R-CNN, the paper's MP R-CNN (Sec. 3.1, D.1), through torchvision."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from fewmask.errors import CheckpointError
from fewmask.mining.proposals import BoolMasks, RgbImage, Scores
from fewmask.models.checkpoint_file import read_checkpoint


def class_agnostic_maskrcnn(*, short_side: int = 800, detections: int = 100) -> nn.Module:
    """ResNet-50-FPN Mask R-CNN with the one class "object", no score threshold, box NMS 0.5.

    Args:
        short_side: frames are resized to this shorter side, at most 1333 on the longer.
        detections: boxes kept per frame.
    """
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    network: nn.Module = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=2,
        min_size=short_side,
        max_size=1333,
        box_score_thresh=0.0,
        box_nms_thresh=0.5,
        box_detections_per_img=detections,
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_test=1000,
    )
    return network


class MaskRcnnProposals:
    """A `Proposer`.

    Attributes:
        network: torchvision's module.
    """

    def __init__(self, weights: Path | nn.Module, *, short_side: int = 800, device: str = "cpu") -> None:
        """Load a state dict of `class_agnostic_maskrcnn`, or take such a network as it is.

        Raises:
            CheckpointError: no such file, or the weights of another network.
        """
        if isinstance(weights, nn.Module):
            self.network = weights.to(device).eval()
            return
        network = class_agnostic_maskrcnn(short_side=short_side)
        try:
            network.load_state_dict(read_checkpoint(weights))
        except RuntimeError as error:
            raise CheckpointError(
                f"{weights}: not a class-agnostic torchvision Mask R-CNN (ResNet-50-FPN, 2 classes)"
            ) from error
        self.network = network.to(device).eval()

    @torch.no_grad()
    def propose(self, rgb: RgbImage) -> tuple[BoolMasks, Scores]:
        """See `Proposer`; soft masks are cut at 0.5."""
        image = torch.from_numpy(rgb).to(next(self.network.parameters()).device).permute(2, 0, 1).float() / 255
        found = self.network([image])[0]
        masks = (found["masks"][:, 0] > 0.5).cpu().numpy()
        return masks, found["scores"].double().cpu().numpy().astype(np.float64)
