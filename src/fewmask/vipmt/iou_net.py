"""IoUNet (section 4.3): how well is a frame segmented? It decides which frames may serve as memory."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.vipmt.backbone import FrameFeatures
from fewmask.vipmt.config import VIPMTConfig


class IoUNet(nn.Module):
    """Backbone features, the predicted mask and the four structural similarity maps -> predicted IoU.

    The released network fits one input size only, because of its fully connected layer. Here other sizes are pooled
    adaptively to the grid it was trained on; at the trained size nothing changes.
    """

    def __init__(self, config: VIPMTConfig, block_channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        width = config.iou_channels
        self.grid = config.iou_grid
        self.shrink = nn.Conv2d(block_channels[0], block_channels[0], 3, stride=2, padding=1)
        self.fuse1 = nn.Conv2d(sum(block_channels), width, 3, padding=1)
        self.fuse2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv1 = nn.Conv2d(width + 5, width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1)
        self.conv4 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.hidden = nn.Linear(width * self.grid[0] * self.grid[1], config.iou_hidden)
        self.score = nn.Linear(config.iou_hidden, 1)

    def forward(self, features: FrameFeatures, maps: Tensor) -> Tensor:
        """Frame features and maps [T, 5, h, w] (mask first) -> predicted IoU [T] in (0, 1)."""
        return self.judge(self.look(features), maps)

    def look(self, features: FrameFeatures) -> Tensor:
        """What does not depend on the mask, [T, W, h, w]; several masks of the same frames can share it."""
        first, *others = features.blocks
        x = torch.cat((self.shrink(first).relu(), *others), dim=1)
        seen: Tensor = self.fuse2(self.fuse1(x).relu()).relu()
        return seen

    def judge(self, seen: Tensor, maps: Tensor) -> Tensor:
        """Predicted IoU [T] of the masks in ``maps`` [T, 5, h, w] on frames that were ``look``ed at."""
        x = self.conv1(torch.cat((seen, maps), dim=1)).relu()
        x = self.conv4(self.conv3(self.conv2(x).relu()).relu()).relu()
        if x.shape[-2:] != self.grid:
            x = functional.adaptive_avg_pool2d(x, self.grid)
        return torch.sigmoid(self.score(self.hidden(x.flatten(1)).relu())).squeeze(1)
