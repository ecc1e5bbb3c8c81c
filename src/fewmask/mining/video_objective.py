"""The objective over a whole video (Eq. 2, 11, 17) as tables for the path search, dear entries on demand."""

from collections import OrderedDict
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.mining.consistency_loss import negative_iou, unions
from fewmask.mining.flow import FlowEstimator
from fewmask.mining.flow_costs import FlowCosts
from fewmask.mining.frame_candidates import FrameCandidates
from fewmask.mining.overlap import pack
from fewmask.mining.path import Costs
from fewmask.mining.settings import MiningSettings
from fewmask.mining.synthetic_flow import FramePair, natural_canvas

_KEPT_PAIRS = 256  # about 1 MB each at the default flow size; more are computed again when asked for


class VideoObjective:
    """λ_I·L_I per candidate, λ_F·L_F + λ_p·L_p per pair of candidates of neighbouring frames.

    Attributes:
        unary: T arrays [K_t].
        bounds: T - 1 arrays [K_t, K_{t+1}]: lower bounds of the pair costs.
        known: T - 1 bool arrays: where the bound is the cost.
    """

    def __init__(self, frames: Sequence[FrameCandidates], estimate: FlowEstimator, settings: MiningSettings) -> None:
        """Compute everything but the synthetic flows; ``frames`` are consecutive and of one size."""
        self._frames, self._estimate, self._settings = frames, estimate, settings
        self._recent: OrderedDict[int, FlowCosts] = OrderedDict()
        self.unary: list[Costs] = [
            settings.weight_background * np.array([cost for cost, _ in frame.combinations]) for frame in frames
        ]
        self._consistency = self._consistency_tables()
        self.bounds: list[Costs] = []
        self.known: list[npt.NDArray[np.bool_]] = []
        for t, consistency in enumerate(self._consistency):
            if settings.weight_flow:
                flow = self._flow_costs(t)
                self.bounds.append(settings.weight_flow * flow.bounds + consistency)
                self.known.append(flow.known)
            else:
                self.bounds.append(consistency)
                self.known.append(np.ones(consistency.shape, dtype=bool))

    def evaluate(self, t: int, k: int, following: int) -> float:
        """λ_F·L_F + λ_p·L_p of candidate ``k`` of frame t and ``following`` of frame t + 1."""
        flow = self._settings.weight_flow * self._flow_costs(t).cost(k, following)
        return flow + float(self._consistency[t][k, following])

    def _consistency_tables(self) -> list[Costs]:
        tables, before = [], None
        for frame in self._frames:
            after = unions(pack(frame.bitmaps()), [indices for _, indices in frame.combinations])
            if before is not None:
                tables.append(self._settings.weight_consistency * negative_iou(before, after))
            before = after
        return tables

    def _flow_costs(self, t: int) -> FlowCosts:
        if t not in self._recent:
            first, second = self._frames[t], self._frames[t + 1]
            rgb, following = first.rgb(), second.rgb()
            flow = self._estimate(rgb, following)
            size = (rgb.shape[0], rgb.shape[1])
            pair = FramePair(rgb, following, flow, natural_canvas(*size))
            selections, following_selections = (_small_selections(frame, size) for frame in (first, second))
            self._recent[t] = FlowCosts(
                pair, selections, following_selections, self._estimate, reduction=self._settings.reduction
            )
            if len(self._recent) > _KEPT_PAIRS:
                self._recent.popitem(last=False)
        self._recent.move_to_end(t)
        return self._recent[t]


def _small_selections(frame: FrameCandidates, size: tuple[int, int]) -> list[npt.NDArray[np.bool_]]:
    """The union of each combination at the size of the small picture; nearest pixels, so that unions stay unions."""
    small = [
        cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0 for mask in frame.bitmaps()
    ]
    selections = []
    for _, indices in frame.combinations:
        union = np.zeros(size, dtype=bool)
        for i in indices:
            union |= small[i]
        selections.append(union)
    return selections
