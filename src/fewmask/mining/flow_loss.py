"""The flow loss L_F: how far measured and synthetic flow lie apart (Eq. 4)."""

import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError
from fewmask.mining.background_loss import Reduction, divisor

Flow = npt.NDArray[np.float32]


def flow_loss(flow: Flow, synthetic: Flow, reduction: Reduction = "mean") -> float:
    """L_F of Eq. 4: the L1 norm of the difference of two flow fields.

    Args:
        flow: measured flow F_t [H, W, 2] in pixels.
        synthetic: synthetic flow of the selection, of the same shape (see `synthetic_flow`).
        reduction: "mean" over pixels of |du| + |dv| (default) or the printed "sum".

    Raises:
        DatasetError: the fields differ in shape.
    """
    if flow.shape != synthetic.shape or flow.ndim != 3 or flow.shape[2] != 2:
        raise DatasetError(f"flow fields have shapes {flow.shape} and {synthetic.shape}; both must be [H, W, 2]")
    difference = np.abs(flow.astype(np.float64) - synthetic.astype(np.float64))
    return float(difference.sum()) / divisor(flow.shape[0] * flow.shape[1], reduction)
