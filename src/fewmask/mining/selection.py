"""Both stages on one video: which masks to keep in every frame, and how sure that is."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass

from fewmask.mining.flow import FlowEstimator
from fewmask.mining.frame_candidates import FrameCandidates
from fewmask.mining.lazy_path import best_path_lazily
from fewmask.mining.path import path_margins
from fewmask.mining.settings import MiningSettings
from fewmask.mining.video_objective import VideoObjective

Pair = tuple[int, int, int]


@dataclass(frozen=True)
class Selection:
    """The best path of a video.

    Attributes:
        cost: its total cost (Eq. 11).
        ranks: per frame the place of the chosen combination among the K of stage 1, from 0.
        margins: per frame, how much dearer the video becomes when the frame takes another combination, as far as the
            evaluated pairs tell; infinity when there is no other.
        pairs_evaluated: synthetic flows that were needed.
        pairs: K·K' summed over the frame pairs: what evaluating everything would have needed.
    """

    cost: float
    ranks: tuple[int, ...]
    margins: tuple[float, ...]
    pairs_evaluated: int
    pairs: int


def select(
    frames: Sequence[FrameCandidates],
    estimate: FlowEstimator,
    settings: MiningSettings,
    *,
    remembered: MutableMapping[Pair, tuple[float, ...]] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Selection:
    """Stage 2 on the frames of a video after stage 1.

    Args:
        frames: consecutive frames, at least one, of one size.
        estimate: the flow estimator.
        settings: weights, reduction, and how to search.
        remembered: what flow added to pairs (t, k, l) in an earlier, interrupted call; new ones are stored there.
        progress: told the number of pairs evaluated so far.
    """
    memory: MutableMapping[Pair, tuple[float, ...]] = {} if remembered is None else remembered
    objective = VideoObjective(frames, estimate, settings)
    evaluated = 0

    def cost_of(t: int, k: int, following: int) -> float:
        nonlocal evaluated
        evaluated += 1
        pair = (t, k, following)
        if pair not in memory:
            memory[pair] = objective.inside(t, k, following)
        progress(evaluated)
        return objective.learn(t, k, following, memory[pair])

    cost, path, pairwise = best_path_lazily(
        objective.unary,
        objective.bounds,
        objective.known,
        cost_of,
        objective.forecast if settings.flow_search == "forecast" else None,
    )
    return Selection(
        cost=cost,
        ranks=tuple(path),
        margins=tuple(path_margins(objective.unary, pairwise, path)),
        pairs_evaluated=evaluated,
        pairs=sum(table.size for table in pairwise),
    )
