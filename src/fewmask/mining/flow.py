"""Optical flow estimators g: OpenCV's DIS, which needs no weights, and RAFT through torchvision."""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.errors import CheckpointError

RgbImage = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]


class FlowEstimator(Protocol):
    """Anything that measures the motion between two pictures."""

    def __call__(self, rgb: RgbImage, following: RgbImage) -> Flow:
        """Flow float32 [H, W, 2], (x, y) in pixels: the pixel at p in ``rgb`` is at p + flow in ``following``."""
        ...


class DisFlow:
    """Dense inverse search (Kroeger et al., ECCV 2016) on grey values, down to full resolution; needs no weights."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._dis.setFinestScale(0)  # the presets stop at 1/2 or 1/4, which rounds small objects off

    def __call__(self, rgb: RgbImage, following: RgbImage) -> Flow:
        """See `FlowEstimator`. Both sides must be at least 16 pixels."""
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # DIS splits the picture into one stripe a thread, and its answer depends on the stripes
        try:
            flow: Flow = self._dis.calc(
                cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.cvtColor(following, cv2.COLOR_RGB2GRAY), None
            )
        finally:
            cv2.setNumThreads(threads)
        return flow


class RaftFlow:
    """RAFT (Teed and Deng, ECCV 2020), the paper's g; weights are torchvision's, trained on FlyingThings3D."""

    def __init__(self, weights: Path | None = None, *, small: bool = False, device: str = "cpu") -> None:
        """Load the network.

        Args:
            weights: state dict in torchvision's names (``raft_large_C_T_V2`` and the like); None lets torchvision
                take them from its cache or download them.
            small: the small variant.
            device: where it runs.

        Raises:
            CheckpointError: the weights cannot be had, or are of another network.
        """
        import torch
        from torchvision.models import optical_flow as raft

        from fewmask.models.checkpoint_file import read_checkpoint

        build, known = (
            (raft.raft_small, raft.Raft_Small_Weights.C_T_V2)
            if small
            else (raft.raft_large, raft.Raft_Large_Weights.C_T_V2)
        )
        try:
            network = build(weights=known if weights is None else None, progress=False)
            if weights is not None:
                network.load_state_dict(read_checkpoint(weights))
        except OSError as error:
            raise CheckpointError(f"RAFT weights cannot be downloaded ({error}); pass a file, or use DIS") from error
        except RuntimeError as error:
            raise CheckpointError(f"{weights}: not RAFT weights in torchvision's names") from error
        self._torch, self._device = torch, device
        self._network = network.to(device).eval()

    def __call__(self, rgb: RgbImage, following: RgbImage) -> Flow:
        """See `FlowEstimator`. Pictures are padded to multiples of 8 and to the 128 pixels that RAFT needs."""
        torch = self._torch
        height, width = rgb.shape[:2]
        bottom, right = max(128, height + -height % 8) - height, max(128, width + -width % 8) - width
        pair = [cv2.copyMakeBorder(side, 0, bottom, 0, right, cv2.BORDER_REPLICATE) for side in (rgb, following)]
        first, second = (
            torch.from_numpy(side).to(self._device).permute(2, 0, 1)[None].float() / 127.5 - 1 for side in pair
        )
        with torch.no_grad():
            flow = self._network(first, second)[-1][0]
        return np.ascontiguousarray(flow.permute(1, 2, 0)[:height, :width].cpu().numpy())
