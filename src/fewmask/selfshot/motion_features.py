"""What moves how in a video, as rows of numbers that need no weights: statistics of optical flow.

Self-Shot localises on the features of a frozen video network (its Table 2 follows the pipeline of Yang et al.). Where
no such weights are at hand, these stand in for them: localisation, fuser and supports are measured, not features.
Rows of any other network, one for each stretch of a video, can be given instead.
"""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

SNIPPET = 6
"""Frames from one row to the next."""
WINDOW = 15
"""Frames that a row looks at, about its snippet."""
FEATURES = 17
"""Numbers per row."""
_DIRECTIONS = 8
_LEAST = 0.3  # pixels a frame; what moves less stands still
_STILL = 1e-3

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


def motion_rows(frames: Sequence[npt.NDArray[np.uint8]]) -> Rows:
    """Rows of a video, one per ``SNIPPET`` frames; a rest of frames gives none, but there is always one.

    A row says along which of four axes things move and how much, which share each axis has, how motion spreads and
    turns within a picture, and how the mean motion varies in time: its axes, whether it goes
    round, how quickly it changes.

    Args:
        frames: uint8 [H, W, 3] each, at least 16 pixels high and wide; two or more.

    Returns:
        float32 [N, FEATURES]
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    dis.setFinestScale(0)
    grey = [cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in frames]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the answer of DIS depends on the number of stripes
    try:
        moves = np.stack([_moments(dis.calc(a, b, None)) for a, b in itertools.pairwise(grey)])
    finally:
        cv2.setNumThreads(threads)
    around = (WINDOW - SNIPPET) // 2
    starts = range(0, max(1, len(frames) // SNIPPET) * SNIPPET, SNIPPET)
    return np.stack([_row(moves[max(0, start - around) : start + SNIPPET + around]) for start in starts])


def _moments(flow: npt.NDArray[np.floating]) -> Floats:
    """Of one pair of frames: motion by direction [8], mean spread and turn, mean motion x and y where there is any."""
    flow = np.asarray(flow - np.median(flow.reshape(-1, 2), axis=0), dtype=np.float64)  # less the camera's
    length: Floats = np.hypot(flow[..., 0], flow[..., 1]).astype(np.float64)
    size: Floats = np.where(length < _LEAST, 0.0, length)
    place = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) * _DIRECTIONS
    low = np.floor(place).astype(int)
    share = place - low
    counts = np.bincount((low % _DIRECTIONS).ravel(), (size * (1 - share)).ravel(), _DIRECTIONS)
    counts += np.bincount(((low + 1) % _DIRECTIONS).ravel(), (size * share).ravel(), _DIRECTIONS)
    along_y, along_x = np.gradient(flow, axis=(0, 1))
    spread, turn = along_x[..., 0] + along_y[..., 1], along_x[..., 1] - along_y[..., 0]
    weight = size / max(float(size.sum()), 1e-6)
    mean: Floats = np.einsum("hwc,hw->c", flow, weight)
    return np.array([*(counts / size.size), (spread * weight).sum(), (turn * weight).sum(), *mean])


def _row(moves: Floats) -> Rows:
    axes = moves[:, :_DIRECTIONS].mean(0).reshape(2, 4).sum(0)
    spread, turn, way = moves[:, _DIRECTIONS], moves[:, _DIRECTIONS + 1], moves[:, _DIRECTIONS + 2 :]
    energy = (way**2).sum() + _STILL
    before, after = way[:-1], way[1:]
    round_ = (before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]).sum() / energy
    quick = ((after - before) ** 2).sum() / energy
    pulse = (np.diff(spread) ** 2).sum() / ((spread**2).sum() + _STILL)
    numbers = [
        *np.sqrt(axes), *(axes / (axes.sum() + _STILL)),
        np.abs(spread).mean(), np.abs(turn).mean(), abs(turn.mean()),
        ((way[:, 0] ** 2 - way[:, 1] ** 2).sum()) / energy, 2 * (way[:, 0] * way[:, 1]).sum() / energy,
        abs(round_), quick, pulse, np.hypot(*way.mean(0)) / np.sqrt(energy / len(way)),
    ]  # fmt: skip
    return np.array(numbers, dtype=np.float32)
