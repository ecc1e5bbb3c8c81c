"""ResNet bodies that return the maps of their four blocks: frozen normalisation, dilation, plain or deep stem."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FrozenBatchNorm2d

RESNET50_DEPTHS = (3, 4, 6, 3)
RESNET101_DEPTHS = (3, 4, 23, 3)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a residual; the output has four times ``width`` channels."""

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        stride: int,
        dilation: int,
        stride_in_first_conv: bool,
        norm_eps: float,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in_first_conv else (1, stride)
        self.conv1 = nn.Conv2d(channels, width, 1, stride=first, bias=False)
        self.bn1 = FrozenBatchNorm2d(width, eps=norm_eps)
        self.conv2 = nn.Conv2d(width, width, 3, stride=second, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = FrozenBatchNorm2d(width, eps=norm_eps)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = FrozenBatchNorm2d(4 * width, eps=norm_eps)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride=stride, bias=False),
                FrozenBatchNorm2d(4 * width, eps=norm_eps),
            )

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, 4 * width, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """A ResNet without its classifier.

    Args:
        depths: bottlenecks per block; ``RESNET50_DEPTHS`` by default.
        stem: "plain" is one 7x7 convolution (torchvision key names); "deep" is three 3x3 convolutions of 64, 64
            and 128 channels (``conv1``, ``conv2``, ``conv3``), as PSPNet's pretrained networks have it.
        strides: stride of each of the four blocks.
        dilations: dilation of the 3x3 convolutions of each block; the first bottleneck of a block uses the dilation
            of the block before it, as torchvision's ``replace_stride_with_dilation`` does.
        stride_in_first_conv: caffe-style weights carry the stride in the 1x1 convolution instead of the 3x3.
        norm_eps: epsilon of the frozen normalisation (torch 1e-5, Keras 1e-3).
    """

    channels = (256, 512, 1024, 2048)

    def __init__(
        self,
        *,
        depths: Sequence[int] = RESNET50_DEPTHS,
        stem: Literal["plain", "deep"] = "plain",
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        stride_in_first_conv: bool = False,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.deep = stem == "deep"
        if self.deep:
            self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
            self.bn1 = FrozenBatchNorm2d(64, eps=norm_eps)
            self.conv2 = nn.Conv2d(64, 64, 3, padding=1, bias=False)
            self.bn2 = FrozenBatchNorm2d(64, eps=norm_eps)
            self.conv3 = nn.Conv2d(64, 128, 3, padding=1, bias=False)
            self.bn3 = FrozenBatchNorm2d(128, eps=norm_eps)
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
            self.bn1 = FrozenBatchNorm2d(64, eps=norm_eps)
        channels = 128 if self.deep else 64
        before = 1
        for index, (depth, stride, dilation) in enumerate(zip(depths, strides, dilations, strict=True)):
            width = 64 * 2**index
            bottlenecks = []
            for position in range(depth):
                bottlenecks.append(
                    Bottleneck(
                        channels,
                        width,
                        stride=stride if position == 0 else 1,
                        dilation=before if position == 0 else dilation,
                        stride_in_first_conv=stride_in_first_conv,
                        norm_eps=norm_eps,
                    )
                )
                channels = 4 * width
            self.add_module(f"layer{index + 1}", nn.Sequential(*bottlenecks))
            before = dilation

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images [N, 3, H, W] -> the outputs of the four blocks, [N, channels[i], H / s_i, W / s_i]."""
        x = functional.relu(self.bn1(self.conv1(images)))
        if self.deep:
            x = functional.relu(self.bn2(self.conv2(x)))
            x = functional.relu(self.bn3(self.conv3(x)))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        maps = []
        for index in range(4):
            x = self.get_submodule(f"layer{index + 1}")(x)
            maps.append(x)
        return maps
