"""Stage 2 when pair costs are dear: the best path, evaluating only the pairs that can matter.

Every pair starts with a lower bound. The best path under the bounds is found, its open pairs are evaluated, and so on
until a best path has none left: its true cost is then no more than any other path's bound, so no other path can win.
Where pairs tell of one another, what is known of some may revise what is expected of those still open; the path is
then the best one as far as no expectation was too high.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError
from fewmask.mining.path import Costs, best_path

_SLACK = 1e-9  # bounds and costs are sums of rounded numbers; a violation beyond this is a wrong bound


def best_path_lazily(
    unary: Sequence[npt.ArrayLike],
    bounds: Sequence[npt.ArrayLike],
    known: Sequence[npt.NDArray[np.bool_]],
    evaluate: Callable[[int, int, int], float],
    revise: Callable[[int], Costs] | None = None,
) -> tuple[float, list[int], list[Costs]]:
    """`best_path` over pair costs that are evaluated on demand.

    Args:
        unary: T arrays [K_t].
        bounds: T - 1 arrays [K_t, K_{t+1}] of lower bounds of the pair costs; the cost itself where ``known``.
        known: T - 1 bool arrays of the same shapes.
        evaluate: the cost of pair (k, l) between frames t and t + 1, called as ``evaluate(t, k, l)``, once a pair.
        revise: called as ``revise(t)`` when pairs between frames t and t + 1 were evaluated, what to expect of all
            [K_t, K_{t+1}]; used for the open ones. None = the bounds stay.

    Returns:
        The cost, the T indices, and the pair costs as far as they became known (bounds or expectations elsewhere).

    Raises:
        DatasetError: shapes that do not fit (see `best_path`), or a cost below its bound.
    """
    least = [np.asarray(bound, dtype=np.float64) for bound in bounds]
    costs = [bound.copy() for bound in least]
    open_pairs = [~table for table in known]
    while True:
        total, path = best_path(unary, costs)
        steps = [(t, path[t], path[t + 1]) for t in range(len(path) - 1)]
        waiting = [step for step in steps if open_pairs[step[0]][step[1:]]]
        if not waiting:
            return total, path, costs
        for t, k, following in waiting:
            cost = evaluate(t, k, following)
            bound = least[t][k, following]
            if cost < bound - _SLACK:
                raise DatasetError(
                    f"frames {t} to {t + 1}: pair ({k}, {following}) costs {cost}, below its bound {bound}"
                )
            costs[t][k, following] = cost
            open_pairs[t][k, following] = False
        if revise is not None:
            for t in sorted({t for t, _, _ in waiting}):
                costs[t] = np.where(open_pairs[t], revise(t), costs[t])
