"""Pictures to feature maps at strides 4, 8 and 16; the last is what the transformer reads (Section 5, A.3).

The paper's ResNet-50 ends after its fourth stage (``layer3``), whose 3x3 convolutions are dilated ("a stride of 2
instead of 1" can only mean a dilation of 2: a stride would shrink the map and the receptive field it wants to grow).
MobileNetV2 stands in for it where there is no GPU: its last stage of stride 32 (blocks 14 to 16) is dilated likewise.
What those blocks say tells objects of one class from others better than what comes before them.
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fewmask.models.imagenet_pixels import normalised
from fewmask.models.resnet import ResNet

BackboneName = Literal["resnet50", "resnet50_caffe", "mobilenet_v2"]
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


class Maps(NamedTuple):
    """Feature maps of T frames: [T, C, H / stride, W / stride] each."""

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor


class Backbone(nn.Module):
    """One of the named networks, without its last stage and classifier.

    Attributes:
        channels: of the three maps.
    """

    def __init__(self, name: BackboneName) -> None:
        super().__init__()
        self.name = name
        self.channels: tuple[int, int, int]
        if name == "mobilenet_v2":
            from torchvision.models import mobilenet_v2

            self.body: nn.Module = mobilenet_v2().features[:17]
            self.channels = (24, 32, 160)
            for place in (14, 15, 16):
                depthwise: Any = self.body[place].conv[1][0]
                if place == 14:
                    depthwise.stride = (1, 1)
                else:
                    depthwise.dilation = depthwise.padding = (2, 2)
        else:
            caffe = name == "resnet50_caffe"
            self.body = ResNet(dilations=(1, 1, 2, 1), stride_in_first_conv=caffe, norm_eps=1e-3 if caffe else 1e-5)
            del self.body.layer4
            self.channels = (256, 512, 1024)

    def train(self, mode: bool = True) -> "Backbone":
        """As usual, but normalisation statistics stay as they are, as the paper's do."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, pictures: Tensor) -> Maps:
        """Pictures uint8 [T, H, W, 3] -> maps."""
        body: Any = self.body
        if self.name == "mobilenet_v2":
            x, maps = normalised(pictures), []
            for place, block in enumerate(body):
                x = block(x)
                if place in {3, 6, 16}:
                    maps.append(x)
            return Maps(*maps)
        if self.name == "resnet50_caffe":
            mean = torch.tensor(_CAFFE_MEAN_BGR, device=pictures.device)
            x = (pictures.flip(-1).float() - mean).movedim(-1, 1).contiguous()
        else:
            x = normalised(pictures)
        x = nn.functional.relu(body.bn1(body.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, stride=2, padding=1)
        quarter = body.layer1(x)
        eighth = body.layer2(quarter)
        return Maps(quarter, eighth, body.layer3(eighth))
