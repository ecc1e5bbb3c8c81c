"""What the layers between features and prototypes start with: scales that hand on what depends on the input.

The paper is silent. Under PyTorch's defaults each linear layer shrinks its input by 1.7 (2.4 with the ReLU after it);
by the time a prototype reads the features, adjust -> merge -> value -> output, its attention adds a fiftieth of the
norm of the learned G_0, LayerNorm discards it, and training goes on with prototypes that are the same for every video.
"""

from torch import Tensor, nn

PROTOTYPE_DEVIATION = 0.25
"""Of the learned G_0, whose norm is then less than that of what attention adds."""
PRIOR_SHARE = 0.1
"""Share of F_0's variance before its ReLU that comes from the prior, one channel of 2 C + 1. At the scale of the others
it would be 1 / (2 C + 1) and go unheard for long; drawn from N(0, 1) it is nearly all, and tokens say nothing else."""


def keep_scale_through_relu(layer: nn.Conv2d) -> None:
    """He: a ReLU after ``layer`` keeps the mean square of its input."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def keep_scale(layer: nn.Linear) -> None:
    """``layer`` keeps the mean square of its input."""
    nn.init.normal_(layer.weight, std=layer.in_features**-0.5)


def prior_column(weight: Tensor) -> None:
    """The last input channel of ``weight`` [C, 2 C + 1, 1, 1] is the prior, a number of about the others' size."""
    others = weight.shape[1] - 1
    deviation = (PRIOR_SHARE / (1 - PRIOR_SHARE) * others) ** 0.5 * (2 / weight.shape[1]) ** 0.5
    nn.init.normal_(weight[:, -1], std=float(deviation))
