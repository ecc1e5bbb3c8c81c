"""Linking the queries of adjacent frames (Section 3.3): Hungarian matching on the cosine of their embeddings."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Array: TypeAlias = npt.NDArray[Any] | Tensor


def match_queries(previous: Array, current: Array) -> npt.NDArray[np.int64]:
    """The order of ``current`` that lines up with ``previous``: all Q queries, null queries included.

    Args:
        previous: embeddings [Q, C] of the last frame, already in track order.
        current: embeddings [Q, C] of this frame in the network's order.

    Returns:
        int64 [Q]; ``current[result]`` lines up with ``previous``. A vector of length zero, or with a value that is
        not finite, has cosine 0 with everything (the official code raises there).

    Raises:
        ValueError: the shapes differ.
    """
    before, now = _unit(previous), _unit(current)
    if before.shape != now.shape:
        raise ValueError(f"previous {before.shape} and current {now.shape} must have the same shape [Q, C]")
    _, order = linear_sum_assignment(1.0 - before @ now.T)
    return np.asarray(order, dtype=np.int64)


def _unit(embeddings: Array) -> npt.NDArray[np.float64]:
    vectors = as_numpy(embeddings).astype(np.float64)
    vectors[~np.isfinite(vectors).all(axis=-1)] = 0.0
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit


def as_numpy(array: Array) -> npt.NDArray[Any]:
    """A tensor (any device, half precision too) or array as NumPy."""
    if isinstance(array, Tensor):
        tensor = array.detach().cpu()
        return (tensor.float() if tensor.dtype.itemsize < 4 and tensor.is_floating_point() else tensor).numpy()
    return np.asarray(array)
