"""What a pair of selections will cost in synthetic flow, judged by the pairs of the same two frames evaluated so far.

Inside a mask the flow between two composites depends almost only on what the second one shows near that mask. So the
cost of a pair is taken apart by the masks selected at t, and each part is remembered under (mask, which masks selected
at t + 1 lie near it). A pair whose parts were all seen in others needs no flow of its own to be ruled out.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.mining.consistency_loss import negative_iou
from fewmask.mining.flow_costs import BoolMasks, Costs, FlowCosts
from fewmask.mining.overlap import pack

_REACH = 4  # pixels, at the size at which flow is computed, within which masks of the next frame count as near
_UNSEEN = 0.7  # of the least seen inside a mask that had its partner, for surroundings not seen yet
_LEAST_SLACK, _MOST_SLACK = 0.02, 0.05  # share by which a forecast is lowered; between them, what it missed by so far
_TRIALS = 3  # forecasts that must have been tested before less than the most slack is trusted


class FlowForecast:
    """Forecasts of what the K x K' pairs of two frames add to their lower bounds."""

    def __init__(self, costs: FlowCosts) -> None:
        """Start knowing nothing of the pairs of ``costs``."""
        masks, combinations = costs.masks, costs.combinations
        following_masks, following_combinations = costs.following_masks, costs.following_combinations
        near = _near(masks, following_masks)
        shown = [np.isin(np.arange(len(following_masks)), indices) for indices in following_combinations]
        self._shape = (len(combinations), len(following_combinations))
        places: dict[tuple[int, bytes], int] = {}
        self._places: list[list[list[int]]] = []
        for indices in combinations:
            rows = [[(i, (near[i] & row).tobytes()) for i in indices] for row in shown]
            self._places.append([[places.setdefault(key, len(places)) for key in keys] for keys in rows])
        self._mask_of = np.array([mask for mask, _ in places], dtype=np.intp)
        partner = _partners(masks, following_masks)
        # With the mask that covers it best at t + 1 a mask fits the flow best: what is seen then is a floor.
        self._has_partner = np.array(
            [not near[i].any() or bool(np.frombuffer(shown_near, bool)[partner[i]]) for i, shown_near in places], bool
        )
        flat = [(k, j, place) for k, row in enumerate(self._places) for j, keys in enumerate(row) for place in keys]
        table = np.array(flat, dtype=np.intp).reshape(-1, 3)
        self._pair_of, self._place_of = table[:, 0] * self._shape[1] + table[:, 1], table[:, 2]
        self._least = np.full(len(places), np.inf)  # per (mask, surroundings)
        self._least_of_mask = np.full(len(masks), np.inf)
        self._missed_by = 0.0
        self._tested = 0

    def learn(self, k: int, following_k: int, parts: Sequence[float]) -> None:
        """Take in what `FlowCosts.inside` said of a pair."""
        places = self._places[k][following_k]
        before = float(self._least[places].sum())
        if 0 < before < np.inf:
            self._tested += 1
            self._missed_by = max(self._missed_by, 1 - sum(parts) / before)
        for place, part in zip(places, parts, strict=True):
            self._least[place] = min(self._least[place], part)
            if self._has_partner[place]:
                mask = self._mask_of[place]
                self._least_of_mask[mask] = min(self._least_of_mask[mask], part)

    def inside(self) -> Costs:
        """Forecasts [K, K']: rarely above the true values, zero where nothing is known."""
        slack = min(max(self._missed_by, _LEAST_SLACK), _MOST_SLACK) if self._tested >= _TRIALS else _MOST_SLACK
        of_mask = np.where(np.isinf(self._least_of_mask), 0.0, self._least_of_mask)[self._mask_of]
        part = np.where(np.isinf(self._least), _UNSEEN * of_mask, (1 - slack) * self._least)
        total = np.bincount(self._pair_of, part[self._place_of], minlength=self._shape[0] * self._shape[1])
        return total.astype(np.float64).reshape(self._shape)


def _near(masks: BoolMasks, following_masks: BoolMasks) -> npt.NDArray[np.bool_]:
    """Whether each mask comes within reach of each of the next frame, bool [N, N']."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _REACH + 1, 2 * _REACH + 1))
    wide = [cv2.dilate(mask.view(np.uint8), disc).reshape(-1) > 0 for mask in masks]
    flat = following_masks.reshape(len(following_masks), -1)
    return np.array([(flat[:, mask]).any(axis=1) for mask in wide], dtype=bool).reshape(len(masks), len(flat))


def _partners(masks: BoolMasks, following_masks: BoolMasks) -> npt.NDArray[np.intp]:
    """For each mask the one of the next frame with the highest IoU, [N]; 0 where there is none."""
    if not len(following_masks):
        return np.zeros(len(masks), dtype=np.intp)
    return np.asarray(negative_iou(pack(masks), pack(following_masks)).argmin(axis=1))
