"""The one-stage network as it is run: batch normalisations folded into the convolutions before them.

In evaluation a normalisation is a factor and a summand per channel, which the convolution's weights can take in. The
results differ from the trained network's by rounding alone.
"""

import copy
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fewmask.minvis.dense.network import DenseNetwork, Tower


def folded(network: DenseNetwork) -> DenseNetwork:
    """A copy of ``network``, in evaluation, without batch normalisations; the given one stays as it is."""
    copied: Any = copy.deepcopy(network).eval().requires_grad_(False)
    copied.score_tower = _FoldedTower(copied.score_tower)
    copied.kernel_tower = _FoldedTower(copied.kernel_tower)
    for module in copied.modules():
        if isinstance(module, nn.Sequential):
            _fold(module)
    result: DenseNetwork = copied
    return result


def _fold(chain: nn.Sequential) -> None:
    """Each convolution of a chain takes in the normalisation right behind it."""
    names = list(chain._modules)  # in order
    for name, following in pairwise(names):
        convolution, norm = chain._modules[name], chain._modules[following]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(chain, name, fuse_conv_bn_eval(convolution, norm))
            setattr(chain, following, nn.Identity())


class _FoldedTower(nn.Module):
    """A `Tower` whose maps no longer share their convolutions, for each has taken in its own map's statistics."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        layers: list[tuple[Any, Any]] = list(zip(tower.convolutions, tower.norms, strict=True))
        self.levels = nn.ModuleList(
            [
                nn.ModuleList([fuse_conv_bn_eval(convolution, norms[level]) for convolution, norms in layers])
                for level in range(len(layers[0][1]))
            ]
        )

    def forward(self, features: Tensor, level: int) -> Tensor:
        """As `Tower.forward`."""
        convolutions: Any = self.levels[level]
        for convolution in convolutions:
            features = functional.silu(convolution(features))
        return features
