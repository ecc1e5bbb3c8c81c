"""Do prototypes depend on what they see? A network whose prototypes are constants can still have good masks."""

import torch
from torch import Tensor


def differing_share(prototypes: Tensor) -> float:
    """Share of the mean squared norm of prototypes [N, C], one for each of N inputs, that is not in their mean.

    0 = the same for every input; 1 = nothing in common.
    """
    values = prototypes.detach().to(torch.float64)
    total = values.square().sum(1).mean()
    return float((values - values.mean(0)).square().sum(1).mean() / total.clamp(min=1e-30))
