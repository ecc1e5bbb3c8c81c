"""The K best sets of masks that may overlap: the ablation without the constraint, and the tolerant constraint.

Where masks overlap, the gain of a set is the gain of its union, a sum over atoms (Eq. 16), no longer over masks.
"""

import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fewmask.mining.atoms import Atoms

Indices = npt.NDArray[np.intp]
Covered = npt.NDArray[np.bool_]


def best_unions(atoms: Atoms, conflicts: Sequence[int], k: int) -> list[tuple[int, tuple[int, ...]]]:
    """The ``k`` sets whose unions gain most, among the sets without a conflict; the empty set counts.

    Args:
        atoms: the masks, cut into atoms.
        conflicts: N bit sets; bit j of ``conflicts[i]`` says that i and j exclude one another. Symmetric.
        k: how many sets; fewer are returned when fewer exist.

    Returns:
        (gain, indices in rising order), by falling gain, then number of masks, then indices.
    """
    count = len(atoms.members)
    own_gain = atoms.members @ atoms.gains
    order = np.argsort(-own_gain, kind="stable")
    allowed = np.ones((count, count), dtype=bool)
    for i, excluded in enumerate(conflicts):
        allowed[i] = [not excluded >> j & 1 for j in range(count)]
    search = _Search(atoms, allowed, k)
    search.explore(0, (), np.zeros(len(atoms.gains), dtype=bool), order)
    ranked = sorted(search.best, reverse=True)
    return [(search.gain_of(value), tuple(sorted(chosen))) for value, chosen in ranked]


class _Search:
    def __init__(self, atoms: Atoms, allowed: npt.NDArray[np.bool_], k: int) -> None:
        self.atoms, self.allowed, self.k = atoms, allowed, k
        self.count = len(atoms.members)
        self.best: list[tuple[int, tuple[int, ...]]] = []  # a heap of (value, masks), the worst kept one first

    def value(self, gain: int, chosen: tuple[int, ...]) -> int:
        """One integer that orders sets by gain, then fewer masks, then smaller indices (see independent_sets)."""
        indices = sum(1 << (self.count - 1 - i) for i in chosen)
        return ((gain * (self.count + 1) - len(chosen)) << self.count) + indices

    def gain_of(self, value: int) -> int:
        """The gain that ``value`` was made of."""
        return -(-(value >> self.count) // (self.count + 1))

    def explore(self, gain: int, chosen: tuple[int, ...], covered: Covered, available: Indices) -> None:
        """Offer ``chosen``, then every larger set made with ``available`` that can still enter the best k."""
        value = self.value(gain, chosen)
        if len(self.best) < self.k:
            heapq.heappush(self.best, (value, chosen))
        elif value > self.best[0][0]:
            heapq.heapreplace(self.best, (value, chosen))
        while len(available):
            if len(self.best) == self.k:
                # Larger sets have more masks than this one, so at equal gain they rank lower: <= prunes.
                most = (((gain + self._most(covered, available)) * (self.count + 1) - len(chosen)) << self.count) - 1
                if most <= self.best[0][0]:
                    return
            mask, available = int(available[0]), available[1:]
            new = self.atoms.members[mask] & ~covered
            self.explore(
                gain + int(self.atoms.gains[new].sum()),
                (*chosen, mask),
                covered | new,
                available[self.allowed[mask, available]],
            )

    def _most(self, covered: Covered, available: Indices) -> int:
        """No choice of available masks gains more than this.

        An atom that a single available mask holds comes with the rest of that mask or not at all; of an atom that
        several hold, only a positive gain is counted.
        """
        members = self.atoms.members[available]
        holders = members.sum(axis=0)
        free = ~covered
        own = np.where(free & (holders == 1), self.atoms.gains, 0)
        shared = self.atoms.gains[free & (holders > 1)]
        return int(shared[shared > 0].sum()) + int(np.maximum(members @ own, 0).sum())
