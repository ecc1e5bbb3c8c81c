"""The objective over a whole video (Eq. 2, 11, 17) as tables for the path search, dear entries on demand."""

from collections import OrderedDict
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.mining.consistency_loss import negative_iou, unions
from fewmask.mining.flow import FlowEstimator
from fewmask.mining.flow_costs import BoolMasks, FlowCosts
from fewmask.mining.flow_forecast import FlowForecast
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
        self._small: OrderedDict[int, BoolMasks] = OrderedDict()
        self.unary: list[Costs] = [
            settings.weight_background * np.array([cost for cost, _ in frame.combinations]) for frame in frames
        ]
        self._consistency = self._consistency_tables()
        self.bounds: list[Costs] = []
        self.known: list[npt.NDArray[np.bool_]] = []
        self._forecasts: list[FlowForecast] = []
        for t, consistency in enumerate(self._consistency):
            if settings.weight_flow:
                flow = self._flow_costs(t)
                self._forecasts.append(FlowForecast(flow))
                self.bounds.append(settings.weight_flow * flow.bounds + consistency)
                self.known.append(flow.known)
            else:
                self.bounds.append(consistency)
                self.known.append(np.ones(consistency.shape, dtype=bool))

    def inside(self, t: int, k: int, following: int) -> tuple[float, ...]:
        """The dear part of a pair: L_F inside each mask of candidate ``k`` of frame t; one flow call."""
        return self._flow_costs(t).inside(k, following)

    def learn(self, t: int, k: int, following: int, inside: Sequence[float]) -> float:
        """λ_F·L_F + λ_p·L_p of a pair, given what `inside` said of it; its neighbours' forecasts learn from it."""
        self._forecasts[t].learn(k, following, inside)
        return float(self.bounds[t][k, following]) + self._settings.weight_flow * sum(inside)

    def forecast(self, t: int) -> Costs:
        """What all pairs between frames t and t + 1 will cost, as far as those learnt tell, [K_t, K_{t+1}]."""
        return self.bounds[t] + self._settings.weight_flow * self._forecasts[t].inside()

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
            self._recent[t] = FlowCosts(
                pair, self._small_masks(t), [indices for _, indices in first.combinations],
                self._small_masks(t + 1), [indices for _, indices in second.combinations],
                self._estimate, reduction=self._settings.reduction,
            )  # fmt: skip
            if len(self._recent) > _KEPT_PAIRS:
                self._recent.popitem(last=False)
        self._recent.move_to_end(t)
        return self._recent[t]

    def _small_masks(self, t: int) -> BoolMasks:
        """The proposals at the size of the small picture; nearest pixels, so that disjoint masks stay disjoint."""
        if t not in self._small:
            frame = self._frames[t]
            height, width = frame.rgb().shape[:2]
            masks = np.zeros((len(frame.masks), height, width), dtype=bool)
            for small, mask in zip(masks, frame.bitmaps(), strict=True):
                cv2.resize(mask.view(np.uint8), (width, height), small.view(np.uint8), interpolation=cv2.INTER_NEAREST)
            self._small[t] = masks
            if len(self._small) > 2:  # those of the pair at hand; its FlowCosts keeps them as long as they are needed
                self._small.popitem(last=False)
        return self._small[t]
