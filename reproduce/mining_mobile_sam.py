"""MobileSAM as a proposal source, for experiments only: it has seen masks of everything (SA-1B)."""

from pathlib import Path

import cv2
import numpy as np
import torch

from fewmask.models.mobile_sam import MobileSam


class MobileSamProposals:
    """A proposer: a grid of points, three masks each, near-duplicates removed by IoU."""

    def __init__(self, weights: Path, *, side: int = 384, points: int = 8, overlap: float = 0.8) -> None:
        self.network = MobileSam.from_file(weights, side=side)
        self.side, self.points, self.overlap = side, points, overlap

    @torch.no_grad()
    def propose(self, rgb):
        height, width = rgb.shape[:2]
        rows, columns = self.network.seen_size((height, width))
        embedding = self.network.embed(rgb)
        ys, xs = (
            (torch.arange(self.points) + 0.5) * rows / self.points,
            (torch.arange(self.points) + 0.5) * columns / self.points,
        )
        grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1).reshape(1, -1, 1, 2)
        found = self.network.sam(image_embeddings=embedding, input_points=grid, multimask_output=True)
        logits, scores = found.pred_masks[0].flatten(0, 1), found.iou_scores[0].flatten().numpy()
        small = (logits[:, : -(-rows // 4), : -(-columns // 4)] > 0).numpy()
        kept: list[int] = []
        for i in np.argsort(-scores, kind="stable"):
            area = small[i].sum()
            if 12 <= area <= 0.9 * small[i].size and all(
                (small[i] & small[j]).sum() < self.overlap * (small[i] | small[j]).sum() for j in kept
            ):
                kept.append(int(i))
        masks = [cv2.resize(logits[i, : rows // 4, : columns // 4].numpy(), (width, height)) > 0 for i in kept]
        return (np.stack(masks) if masks else np.zeros((0, height, width), bool)), scores[kept]
