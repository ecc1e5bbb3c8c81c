"""What a pair of selections will cost in synthetic flow, judged by the pairs of the same two frames evaluated so far.

Inside a mask the flow between two composites depends almost only on what the second one shows near that mask. So the
cost of a pair is taken apart by the masks selected at t, and what was seen inside a mask holds for every selection at
t + 1 that looks the same near it, and less and less for those that look different. A pair whose parts are known from
others needs no flow of its own to be ruled out.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.mining.flow_costs import BoolMasks, Costs, FlowCosts, joined

_REACH = 4  # pixels around a mask, at the size at which flow is computed, that count as near
_FADING = 1.5  # what was seen counts this much less for every pixel near the mask that looks different, in masks
_LOST = 0.15  # a mask of which the next selection shows less than this share near it has vanished,
_GUESS = 0.25  # its flow is arbitrary, and what was seen of it counts this much less
_LEAST_SLACK, _MOST_SLACK = 0.02, 0.05  # share by which a forecast is lowered; between them, what it missed by so far
_TRIALS = 3  # forecasts that must have been tested before less than the most slack is trusted


class FlowForecast:
    """Forecasts of what the K x K' pairs of two frames add to their lower bounds."""

    def __init__(self, costs: FlowCosts) -> None:
        """Start knowing nothing of the pairs of ``costs``."""
        following = joined(costs.following_masks, costs.following_combinations)
        unlike, shown = _near(costs.masks, following)  # [N, K', K'], [N, K']
        self._trust = np.where(shown < _LOST, 1 - _GUESS, 1.0)
        self._holds = np.maximum(0.0, 1 - _FADING * unlike)
        self._same = unlike == 0
        self._combinations = costs.combinations
        self._selects = np.zeros((len(costs.combinations), len(costs.masks)))  # [K, N]
        for k, indices in enumerate(costs.combinations):
            self._selects[k, list(indices)] = 1
        self._seen = np.full(unlike.shape[:2], np.inf)  # [N, K'], the least inside mask i under selection k' at t + 1
        self._expected: Costs = np.zeros((len(costs.combinations), unlike.shape[1]))
        self._missed_by = 0.0
        self._tested = 0

    def learn(self, k: int, following_k: int, parts: Sequence[float]) -> None:
        """Take in what `FlowCosts.inside` said of a pair."""
        expected = self._expected[k, following_k]
        if expected > 0:
            self._tested += 1
            self._missed_by = max(self._missed_by, 1 - sum(parts) / expected)
        for i, part in zip(self._combinations[k], parts, strict=True):
            self._seen[i, following_k] = min(self._seen[i, following_k], part)

    def inside(self) -> Costs:
        """Forecasts [K, K']: rarely above the true values, zero where nothing is known."""
        alike = np.where(self._same, self._seen[:, :, None], np.inf).min(axis=1, initial=np.inf)  # [N, K']
        known = np.isfinite(alike)
        alike = np.where(known, alike, 0.0)
        faded = (self._holds * alike[:, :, None]).max(axis=1, initial=0.0)
        self._expected = self._selects @ (self._trust * np.where(known, alike, faded))
        slack = min(max(self._missed_by, _LEAST_SLACK), _MOST_SLACK) if self._tested >= _TRIALS else _MOST_SLACK
        return (1 - slack) * self._expected


def _near(masks: BoolMasks, following: Sequence[npt.NDArray[np.bool_]]) -> tuple[Costs, Costs]:
    """What the selections of the next frame show near each mask, in pixels as shares of the mask.

    Returns:
        By how much two selections differ, [N, K', K'], and how much each shows, [N, K'].
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _REACH + 1, 2 * _REACH + 1))
    differ = np.zeros((len(masks), len(following), len(following)))
    show = np.zeros((len(masks), len(following)))
    for i, mask in enumerate(masks):
        near = cv2.dilate(mask.view(np.uint8), disc) > 0
        shown = np.array([selection[near] for selection in following], dtype=np.float64)
        pixels, area = shown.sum(axis=1), max(int(mask.sum()), 1)
        differ[i] = (pixels[:, None] + pixels[None] - 2 * (shown @ shown.T)) / area
        show[i] = pixels / area
    return differ, show
