"""Stage 1: the K best combinations of a frame's masks under the background loss (Sec. 3.3, B.1)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fewmask.errors import ConfigError, DatasetError
from fewmask.mining.atoms import cut_into_atoms
from fewmask.mining.background_loss import Reduction, checked, divisor, pixel_evidence
from fewmask.mining.best_unions import best_unions
from fewmask.mining.independent_sets import best_independent_sets
from fewmask.mining.overlap import conflicts, pack, sums_over_masks

Combination = tuple[float, tuple[int, ...]]


def best_combinations(
    masks: npt.NDArray[np.bool_],
    background: npt.NDArray[np.floating],
    k: int,
    *,
    disjoint: bool = True,
    tolerance: int = 0,
    reduction: Reduction = "mean",
    bonus: Sequence[float] | None = None,
) -> list[Combination]:
    """The ``k`` subsets of ``masks`` with the lowest background loss L_I (Eq. 3), exactly.

    Every pixel's gain is a fixed-point integer, so sums are exact: the answer depends neither on the order of the
    masks nor on the machine's way to add, and costs that are equal tie.

    Args:
        masks: bool [N, H, W]. N = 0 is allowed: the empty combination is always a candidate.
        background: probability of background [H, W] in [0, 1].
        k: how many combinations, at least 1; fewer are returned when fewer exist.
        disjoint: the non-overlapping constraint: no two selected masks share a pixel.
        tolerance: pixels that two selected masks may share all the same; raising it keeps masks that touch. Where
            masks overlap, the loss is that of their union. Without effect when ``disjoint`` is False.
        reduction: "mean" over pixels, or the "sum" that the paper prints.
        bonus: what selecting each mask takes off the cost beside its pixels, in units of the cost; None = nothing, as
            in the paper.

    Returns:
        (cost, mask indices in rising order) in rising cost; ties by number of masks, then by indices.

    Raises:
        DatasetError: shapes that do not agree, or a background that is no probability.
        ConfigError: ``k`` < 1, ``tolerance`` < 0, an unknown reduction, or a ``bonus`` where masks may overlap.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise DatasetError(f"masks have shape {masks.shape}; give bool [N, H, W]")
    if k < 1:
        raise ConfigError(f"k is {k}; ask for at least one combination")
    if tolerance < 0:
        raise ConfigError(f"tolerance is {tolerance} pixels; it cannot be negative")
    masks = masks.astype(bool, copy=False)
    scale = divisor(masks.shape[1] * masks.shape[2], reduction)
    evidence = pixel_evidence(checked(background, masks.shape[1:]))
    packed = pack(masks)
    excluded = conflicts(packed, tolerance) if disjoint else [0] * len(masks)
    unit = 1 << evidence.shift
    if disjoint and tolerance == 0:
        gains = sums_over_masks(evidence.gains, masks, packed)
        if bonus is not None:
            gains = [gain + round(extra * scale * unit) for gain, extra in zip(gains, bonus, strict=True)]
        found = best_independent_sets(gains, excluded, k)
    elif bonus is not None:
        raise ConfigError("scores can count in L_I only where selected masks are disjoint; use tolerance 0")
    else:
        found = best_unions(cut_into_atoms(masks, evidence.gains), excluded, k)
    return [((evidence.empty_cost - gain / unit) / scale, indices) for gain, indices in found]
