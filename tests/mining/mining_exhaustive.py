"""The plain answers by trying everything, to test the fast ones against."""

import itertools

import numpy as np


def every_combination(masks, background, *, disjoint=True, tolerance=0, reduction="mean"):
    """All feasible subsets with their cost, in the documented order."""
    p = np.clip(np.asarray(background, dtype=np.float64), 1e-6, 1 - 1e-6)
    found = []
    for size in range(len(masks) + 1):
        for subset in itertools.combinations(range(len(masks)), size):
            pairs = itertools.combinations(subset, 2)
            if disjoint and any((masks[i] & masks[j]).sum() > tolerance for i, j in pairs):
                continue
            selected = masks[list(subset)].any(axis=0) if subset else np.zeros(p.shape, bool)
            cost = -np.where(selected, np.log(1 - p), np.log(p)).sum()
            found.append((cost / (p.size if reduction == "mean" else 1), subset))
    return sorted(found, key=lambda item: (item[0], len(item[1]), item[1]))


def every_path(unary, pairwise):
    """(cost, path) of the cheapest path over all paths."""
    best = (np.inf, [])
    for path in itertools.product(*(range(len(costs)) for costs in unary)):
        cost = sum(costs[k] for costs, k in zip(unary, path, strict=True))
        cost += sum(table[a, b] for table, a, b in zip(pairwise, path[:-1], path[1:], strict=True))
        if cost < best[0]:
            best = (cost, list(path))
    return best
