"""L_F between the candidates of two frames, evaluated on demand, with a lower bound that costs no flow call."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fewmask.mining.background_loss import Reduction, divisor
from fewmask.mining.flow import FlowEstimator
from fewmask.mining.synthetic_flow import BoolMask, FramePair, background_flow, composite_flow

Costs = npt.NDArray[np.float64]


class FlowCosts:
    """L_F (Eq. 4) between the K candidate selections of frame t and the K' of frame t + 1.

    Outside the masks selected at t the synthetic flow is the mean background flow, so that part of L_F depends on the
    first selection alone and needs no call of the estimator. Inside, at least zero is added: the part outside is a
    lower bound of the whole, and the whole for an empty selection.
    """

    def __init__(
        self,
        pair: FramePair,
        selections: Sequence[BoolMask],
        following_selections: Sequence[BoolMask],
        estimate: FlowEstimator,
        *,
        reduction: Reduction = "mean",
    ) -> None:
        """Selections are unions of masks, bool [H, W], of the size of the frames."""
        self._pair, self._estimate = pair, estimate
        self._selections, self._following_selections = selections, following_selections
        self._scale = divisor(pair.flow.shape[0] * pair.flow.shape[1], reduction)
        self._outside = [_l1(pair.flow[~selected], background_flow(pair.flow, selected)) for selected in selections]

    @property
    def bounds(self) -> Costs:
        """Lower bounds of L_F, float64 [K, K']: the part outside the masks selected at t."""
        column = np.array(self._outside)[:, None] / self._scale
        return np.repeat(column, len(self._following_selections), axis=1)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Where the bound is the cost itself, bool [K, K']: nothing is selected at t."""
        empty = np.array([not selected.any() for selected in self._selections])
        return np.repeat(empty[:, None], len(self._following_selections), axis=1)

    def cost(self, k: int, following_k: int) -> float:
        """L_F of one pair; one call of the estimator unless nothing is selected at t."""
        selected = self._selections[k]
        inside = 0.0
        if selected.any():
            flow = composite_flow(self._pair, selected, self._following_selections[following_k], self._estimate)
            inside = _l1(self._pair.flow[selected], flow[selected])
        return (self._outside[k] + inside) / self._scale


def _l1(flow: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    return float(np.abs(flow.astype(np.float64) - other).sum())
