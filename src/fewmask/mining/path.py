"""Stage 2: the best path through the frames' candidate combinations (Sec. 3.3, B.2, Eq. 17)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError

Costs = npt.NDArray[np.float64]


def best_path(unary: Sequence[npt.ArrayLike], pairwise: Sequence[npt.ArrayLike]) -> tuple[float, list[int]]:
    """The path of lowest total cost, one candidate per frame, by dynamic programming (Viterbi) in O(T·K²).

    Costs of either sign are allowed. The paper runs Dijkstra's algorithm and states that all edges are non-negative,
    which -IoU contradicts; and its edges (Eq. 17) leave out the last frame's image term, which counts here as Eq. 11
    says.

    Args:
        unary: T arrays [K_t], each at least one candidate long: λ_I·L_I. T may be 0.
        pairwise: T - 1 arrays [K_t, K_{t+1}]: λ_F·L_F + λ_p·L_p. Infinity forbids a step.

    Returns:
        The cost and the T indices. Among paths of equal cost, the one whose first differing index is smaller.

    Raises:
        DatasetError: lengths or shapes that do not agree, a frame without candidates, or NaN.
    """
    nodes = [np.asarray(costs, dtype=np.float64) for costs in unary]
    edges = [np.asarray(costs, dtype=np.float64) for costs in pairwise]
    _check(nodes, edges)
    if not nodes:
        return 0.0, []
    to_go = nodes[-1]  # lowest cost from each candidate of frame t to the end, frame t included
    steps: list[npt.NDArray[np.intp]] = []
    for node, edge in zip(reversed(nodes[:-1]), reversed(edges), strict=True):
        through = edge + to_go
        step = through.argmin(axis=1)
        steps.append(step)
        to_go = node + through[np.arange(len(node)), step]
    path = [int(to_go.argmin())]
    for step in reversed(steps):
        path.append(int(step[path[-1]]))
    return float(to_go.min()), path


def path_margins(unary: Sequence[npt.ArrayLike], pairwise: Sequence[npt.ArrayLike], path: Sequence[int]) -> list[float]:
    """How much each frame's choice is worth: best total cost with another candidate there, minus that of ``path``.

    With pair costs that are partly lower bounds, the margins are lower bounds too. Infinity where a frame has one
    candidate only.

    Args:
        unary: as for `best_path`.
        pairwise: as for `best_path`.
        path: the best path.
    """
    nodes = [np.asarray(costs, dtype=np.float64) for costs in unary]
    edges = [np.asarray(costs, dtype=np.float64) for costs in pairwise]
    if not nodes:
        return []
    so_far = [nodes[0]]
    for node, edge in zip(nodes[1:], edges, strict=True):
        so_far.append((so_far[-1][:, None] + edge).min(axis=0) + node)
    after = [np.zeros_like(nodes[-1])]
    for node, edge in zip(reversed(nodes[1:]), reversed(edges), strict=True):
        after.append((edge + node + after[-1]).min(axis=1))
    margins = []
    for forward, backward, chosen in zip(so_far, reversed(after), path, strict=True):
        through = forward + backward
        others = np.delete(through, chosen)
        margins.append(float(others.min() - through[chosen]) if len(others) else float("inf"))
    return margins


def _check(nodes: list[Costs], edges: list[Costs]) -> None:
    if len(edges) != max(len(nodes) - 1, 0):
        raise DatasetError(f"{len(nodes)} frames need {max(len(nodes) - 1, 0)} pairwise tables, got {len(edges)}")
    for t, node in enumerate(nodes):
        if node.ndim != 1 or len(node) == 0:
            raise DatasetError(f"frame {t}: unary costs have shape {node.shape}; give [K] with at least one candidate")
        if np.isnan(node).any():
            raise DatasetError(f"frame {t}: unary costs hold NaN")
    for t, edge in enumerate(edges):
        wanted = (len(nodes[t]), len(nodes[t + 1]))
        if edge.shape != wanted:
            raise DatasetError(f"frames {t} to {t + 1}: pairwise costs have shape {edge.shape}, wanted {wanted}")
        if np.isnan(edge).any():
            raise DatasetError(f"frames {t} to {t + 1}: pairwise costs hold NaN")
