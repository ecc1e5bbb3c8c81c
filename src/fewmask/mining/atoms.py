"""Masks cut into atoms, the paper's "sub-masks" (B.1, Fig. 9, Eq. 15-16): pixels covered by the same set of masks."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Atoms:
    """The atoms of N masks.

    Attributes:
        members: bool [N, A]; ``members[i, a]`` says that mask i holds atom a. No atom is in no mask.
        gains: int64 [A]; the summed gain of the atom's pixels.
    """

    members: npt.NDArray[np.bool_]
    gains: npt.NDArray[np.int64]


def cut_into_atoms(masks: npt.NDArray[np.bool_], pixel_gains: npt.NDArray[np.int64]) -> Atoms:
    """Group the pixels of masks bool [N, H, W] by the exact set of masks that cover them; sum ``pixel_gains`` [H, W].

    At most min(2^N - 1, H·W) atoms exist; real proposals give a few hundred.
    """
    count = len(masks)
    covered = np.flatnonzero(masks.any(axis=0).reshape(-1))
    columns = masks.reshape(count, pixel_gains.size)[:, covered]
    keys = np.ascontiguousarray(np.packbits(columns, axis=0).T)  # [pixels, bytes]: the set of masks over each pixel
    words = keys.view(np.dtype((np.void, keys.shape[1]))).reshape(-1) if covered.size else np.zeros(0, "V1")
    _, first, atom_of_pixel = np.unique(words, return_index=True, return_inverse=True)
    gains = np.zeros(len(first), dtype=np.int64)
    np.add.at(gains, atom_of_pixel, pixel_gains.reshape(-1)[covered])
    return Atoms(columns[:, first], gains)
