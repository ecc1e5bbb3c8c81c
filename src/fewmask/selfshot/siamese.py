"""Siamese Mask R-CNN with the mean of its supports, a baseline of Table 11: what looks like them, frame by frame.

After the paper's description: the backbone's features of all support frames are averaged, as in prototypical networks,
and with the mean an instance segmenter finds its objects in each frame. The segmenter is the one that the paper names
("strong baseline for few-shot image instance segmentation based on Mask R-CNN"): at every place the difference to the
mean stands beside the feature itself before regions are proposed. How frames are joined is not said; here masks are
linked by their overlap from frame to frame.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fewmask.errors import ConfigError
from fewmask.selfshot.backbone import Backbone, Maps
from fewmask.selfshot.tracks import ClipTargets
from fewmask.selfshot.transformer import TransformerConfig

Means = tuple[Tensor, Tensor, Tensor]
"""The mean feature of the supports at each level of the pyramid, [C] each."""
LEVELS = ("0", "1", "2")
_PROPOSALS = 300
_SAMPLED = 64  # boxes per frame that a loss looks at


class SiameseMaskRcnn(nn.Module):
    """Objects of single frames that look like the supports.

    Args:
        config: of the transformer it is compared with; ``backbone``, ``width`` (channels of the pyramid),
            ``feed_forward`` (of the box head), ``slots`` (objects per frame), ``frames``, ``support_frames`` and
            ``size`` mean the same.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        from torchvision.models.detection import MaskRCNN
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
        from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
        from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

        self.config, width = config, config.width
        self.backbone = Backbone(config.backbone)
        self.pyramid = FeaturePyramidNetwork(list(self.backbone.channels), width)
        self.match = nn.ModuleList(nn.Conv2d(2 * width, width, 1) for _ in LEVELS)
        side = min(config.size)
        detector: Any = MaskRCNN(
            _Nothing(width), min_size=side, max_size=max(config.size),
            rpn_anchor_generator=AnchorGenerator(
                tuple((max(8, round(side * share)),) for share in (0.1, 0.25, 0.6)), ((0.5, 1.0, 2.0),) * len(LEVELS)
            ),
            box_roi_pool=MultiScaleRoIAlign(list(LEVELS), 7, 2), mask_roi_pool=MultiScaleRoIAlign(list(LEVELS), 14, 2),
            box_head=TwoMLPHead(49 * width, config.feed_forward),
            box_predictor=FastRCNNPredictor(config.feed_forward, 2),
            mask_head=MaskRCNNHeads(width, [width] * 4, 1), mask_predictor=MaskRCNNPredictor(width, width, 2),
            rpn_pre_nms_top_n_train=2 * _PROPOSALS, rpn_pre_nms_top_n_test=2 * _PROPOSALS,
            rpn_post_nms_top_n_train=_PROPOSALS, rpn_post_nms_top_n_test=_PROPOSALS,
            rpn_batch_size_per_image=_SAMPLED, box_batch_size_per_image=_SAMPLED, box_score_thresh=0.02,
            box_detections_per_img=config.slots,
        )  # fmt: skip
        self.rpn, self.roi_heads, self._restore = detector.rpn, detector.roi_heads, detector.transform

    def means(self, clips: Sequence[Tensor | Maps]) -> Means:
        """The mean over all places of all frames of all supports, level by level.

        Args:
            clips: uint8 [T_i, H, W, 3] each, or maps.

        Raises:
            ConfigError: there are none.
        """
        if not clips:
            raise ConfigError("no support clip is given; give at least one")
        levels: list[list[Tensor]] = [[], [], []]
        for clip in clips:
            for level, map_ in zip(levels, self._levels(clip), strict=True):
                level.append(map_.mean((2, 3)))
        first, second, third = (torch.cat(level).mean(0) for level in levels)
        return first, second, third

    def losses(self, clip: Tensor | Maps, means: Means, targets: ClipTargets) -> dict[str, Tensor]:
        """Mask R-CNN's five losses over the frames of a clip of the configured size; the module must be training."""
        height, width = self.config.size
        scale = torch.tensor([width, height, width, height], device=targets.boxes.device)
        wanted = []
        for t in range(targets.masks.shape[1]):
            seen = targets.present[:, t]
            boxes = targets.boxes[seen, t]
            corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1) * scale
            wanted.append(
                {
                    "boxes": corners, "masks": targets.masks[seen, t].to(torch.uint8),
                    "labels": torch.ones(len(corners), dtype=torch.int64, device=corners.device),
                }
            )  # fmt: skip
        features, images = self._matched(clip, means)
        proposals, of_regions = self.rpn(images, features, wanted)
        _, of_objects = self.roi_heads(features, proposals, images.image_sizes, wanted)
        losses: dict[str, Tensor] = {**of_regions, **of_objects}
        return losses

    def forward(self, clip: Tensor | Maps, means: Means, size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """Per frame ``scores`` [m], falling, and ``masks`` bool [m, H, W] of the video's size; in evaluation mode."""
        features, images = self._matched(clip, means)
        proposals, _ = self.rpn(images, features, None)
        found, _ = self.roi_heads(features, proposals, images.image_sizes, None)
        whole = self._restore.postprocess(found, images.image_sizes, [size] * len(found))
        return [{"scores": frame["scores"], "masks": frame["masks"][:, 0] > 0.5} for frame in whole]

    def _levels(self, clip: Tensor | Maps) -> list[Tensor]:
        maps = clip if isinstance(clip, Maps) else self.backbone(clip)
        return list(self.pyramid(OrderedDict(zip(LEVELS, maps, strict=True))).values())

    def _matched(self, clip: Tensor | Maps, means: Means) -> tuple[dict[str, Tensor], Any]:
        """The pyramid beside its difference to the supports, and what torchvision's heads want to know of frames."""
        from torchvision.models.detection.image_list import ImageList

        features = {}
        for name, level, mean, match in zip(LEVELS, self._levels(clip), means, self.match, strict=True):
            away = (level - mean[None, :, None, None]).abs()
            features[name] = match(torch.cat([level, away], 1))
        count, (height, width) = len(features["0"]), self.config.size
        # The heads look at nothing of the pictures but their size.
        shape_only = features["0"].new_zeros(1).expand(count, 3, height, width)
        return features, ImageList(shape_only, [(height, width)] * count)


class _Nothing(nn.Module):
    """In the place of a backbone: the pyramid's features are made before."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
