"""L_F between the candidates of two frames, evaluated on demand, with a lower bound that costs no flow call."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fewmask.mining.background_loss import Reduction, divisor
from fewmask.mining.flow import FlowEstimator
from fewmask.mining.synthetic_flow import BoolMask, FramePair, background_flow, composite_flow

Costs = npt.NDArray[np.float64]
BoolMasks = npt.NDArray[np.bool_]
Combinations = Sequence[tuple[int, ...]]


class FlowCosts:
    """L_F (Eq. 4) between the K candidate selections of frame t and the K' of frame t + 1.

    Outside the masks selected at t the synthetic flow is the mean background flow, so that part of L_F depends on the
    first selection alone and needs no call of the estimator. Inside, at least zero is added: the part outside is a
    lower bound of the whole, and the whole for an empty selection.

    Attributes:
        masks: candidates of frame t, bool [N, H, W].
        combinations: K tuples of their indices.
        following_masks: candidates of frame t + 1, bool [N', H, W].
        following_combinations: K' tuples of their indices.
    """

    def __init__(
        self,
        pair: FramePair,
        masks: BoolMasks,
        combinations: Combinations,
        following_masks: BoolMasks,
        following_combinations: Combinations,
        estimate: FlowEstimator,
        *,
        reduction: Reduction = "mean",
    ) -> None:
        """Masks are of the size of the frames of ``pair``."""
        self._pair, self._estimate = pair, estimate
        self.masks, self.combinations = masks, combinations
        self.following_masks, self.following_combinations = following_masks, following_combinations
        selections = joined(masks, combinations)
        self._scale = divisor(pair.flow.shape[0] * pair.flow.shape[1], reduction)
        self._outside = [_l1(pair.flow[~selected], background_flow(pair.flow, selected)) for selected in selections]
        self._empty = np.array([not selected.any() for selected in selections])

    @property
    def bounds(self) -> Costs:
        """Lower bounds of L_F, float64 [K, K']: the part outside the masks selected at t."""
        column = np.array(self._outside)[:, None] / self._scale
        return np.repeat(column, len(self.following_combinations), axis=1)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Where the bound is the cost itself, bool [K, K']: nothing is selected at t."""
        return np.repeat(self._empty[:, None], len(self.following_combinations), axis=1)

    def inside(self, k: int, following_k: int) -> tuple[float, ...]:
        """What the pair adds to its bound inside each mask of combination ``k``; one call of the estimator.

        A pixel that two masks share counts in the first.
        """
        if self._empty[k]:
            return (0.0,) * len(self.combinations[k])
        # Unions are cheap and many: kept, they would take more memory than all the rest.
        free = _union(self.masks, self.combinations[k])
        following = _union(self.following_masks, self.following_combinations[following_k])
        flow = composite_flow(self._pair, free, following, self._estimate)
        parts = []
        for i in self.combinations[k]:
            own = self.masks[i] & free
            free &= ~own
            parts.append(_l1(self._pair.flow[own], flow[own]) / self._scale)
        return tuple(parts)

    def cost(self, k: int, following_k: int) -> float:
        """L_F of one pair; one call of the estimator unless nothing is selected at t."""
        return self._outside[k] / self._scale + sum(self.inside(k, following_k))


def joined(masks: BoolMasks, combinations: Combinations) -> list[BoolMask]:
    """The union of each combination of masks [N, H, W], each bool [H, W]."""
    return [_union(masks, indices) for indices in combinations]


def _union(masks: BoolMasks, indices: tuple[int, ...]) -> BoolMask:
    return np.asarray(masks[list(indices)].any(axis=0))


def _l1(flow: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    return float(np.abs(flow.astype(np.float64) - other).sum())
