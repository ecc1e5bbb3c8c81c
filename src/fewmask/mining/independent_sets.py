"""The K best sets of masks that do not conflict, exactly, by branch and bound over additive values.

Under the non-overlapping constraint L_I is additive over the selected masks, so stage 1 (Sec. 3.3, B.1) is the search
for the K heaviest independent sets of the conflict graph. The paper's tree has the same leaves.
"""

import heapq
from collections.abc import Sequence


def ranked_values(gains: Sequence[int]) -> list[int]:
    """Gains turned into values whose sum orders sets by gain, then fewer masks, then smaller indices.

    No two sets share a value, hence the K best are one definite list, whatever order the search takes. The low N bits
    hold a one for each index, the first index highest: of two sets of equal gain and size the lexicographically smaller
    one is the larger binary number. Above them every mask costs one unit, and above that stands the gain.
    """
    count = len(gains)
    return [((gain * (count + 1) - 1) << count) + (1 << (count - 1 - i)) for i, gain in enumerate(gains)]


def best_independent_sets(gains: Sequence[int], conflicts: Sequence[int], k: int) -> list[tuple[int, tuple[int, ...]]]:
    """The ``k`` sets of largest total gain among the sets without a conflict; the empty set counts.

    Args:
        gains: N integers, of any sign.
        conflicts: N bit sets; bit j of ``conflicts[i]`` says that i and j exclude one another. Symmetric.
        k: how many sets; fewer are returned when fewer exist.

    Returns:
        (gain, indices in rising order), by falling gain, then number of masks, then indices.
    """
    values = ranked_values(gains)
    order = sorted(range(len(gains)), key=lambda i: -values[i])
    position = {mask: place for place, mask in enumerate(order)}
    sorted_values = [values[i] for i in order]
    compatible = [~sum(1 << position[j] for j in range(len(gains)) if conflicts[i] >> j & 1) for i in order]
    search = _Search(sorted_values, compatible, k)
    search.explore(0, 0, (1 << len(gains)) - 1)
    found = []
    for _, chosen in sorted(search.best, reverse=True):
        indices = tuple(sorted(order[place] for place in range(len(order)) if chosen >> place & 1))
        found.append((sum(gains[i] for i in indices), indices))
    return found


class _Search:
    """Depth-first search over sets; masks stand in falling value, bit p of a set is the mask at place p."""

    def __init__(self, values: list[int], compatible: list[int], k: int) -> None:
        self.values, self.compatible, self.k = values, compatible, k
        self.best: list[tuple[int, int]] = []  # a heap of (value, set), the worst kept one first
        self.cliques = _greedy_cliques(values, compatible)

    def explore(self, value: int, chosen: int, available: int) -> None:
        """Offer ``chosen``, then every larger set made with ``available`` that can still enter the best k."""
        if len(self.best) < self.k:
            heapq.heappush(self.best, (value, chosen))
        elif value > self.best[0][0]:
            heapq.heapreplace(self.best, (value, chosen))
        while available:
            if len(self.best) == self.k and value + self._most(available) <= self.best[0][0]:
                return
            bit = available & -available
            place = bit.bit_length() - 1
            available ^= bit
            self.explore(value + self.values[place], chosen | bit, available & self.compatible[place])

    def _most(self, available: int) -> int:
        """No set of one or more of the available masks is worth more: one mask at most from each clique."""
        most = 0
        for clique in self.cliques:
            members = clique & available
            if members:
                most += self.values[(members & -members).bit_length() - 1]
        return most or self.values[(available & -available).bit_length() - 1]


def _greedy_cliques(values: list[int], compatible: list[int]) -> list[int]:
    """The masks of positive value split into groups that conflict pairwise, each a bit set."""
    cliques: list[int] = []
    for place, value in enumerate(values):
        if value <= 0:
            break
        for c, clique in enumerate(cliques):
            if not clique & compatible[place]:
                cliques[c] = clique | 1 << place
                break
        else:
            cliques.append(1 << place)
    return cliques
