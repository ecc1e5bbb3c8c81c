"""What stands out in a video without any detector: the saliency baselines of Table 1, after IOA and NLC.

Both are written from the outline in the paper's appendix D.2.3, not from their authors' code. They find regions that
move or look unlike the rest; adjacent objects are one to them.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from fewmask.mining.flow import Flow
from fewmask.mining.proposals import RgbImage

Maps = npt.NDArray[np.float32]
_CELL = 8  # pixels of a region's side


def video_pca(pictures: Sequence[RgbImage], *, components: int = 3, width: int = 96) -> Maps:
    """Saliency of each frame by the error of its projection on the video's first principal components (IOA's VideoPCA).

    Background repeats, so few components hold it; what is left over stands out.

    Args:
        pictures: uint8 [H, W, 3], all of one size.
        components: how many of them, at most one less than frames.
        width: pixels at which it is computed.

    Returns:
        float32 [T, H, W] in [0, 1]
    """
    height, full = pictures[0].shape[:2]
    small = (width, max(8, round(width * height / full)))
    table = np.stack([cv2.resize(rgb, small, interpolation=cv2.INTER_AREA) for rgb in pictures]).astype(np.float32)
    flat = table.reshape(len(table), -1)
    away = flat - flat.mean(0)
    _, _, axes = np.linalg.svd(away, full_matrices=False)
    kept = axes[: max(0, min(components, len(table) - 1))]
    left = (away - away @ kept.T @ kept).reshape(table.shape)
    error = np.sqrt((left**2).sum(-1))
    maps = [cv2.resize(cv2.GaussianBlur(one, (0, 0), 2.0), (full, height)) for one in error]
    return _scaled(np.stack(maps))


def surest_frames(maps: Maps, share: float = 0.2) -> npt.NDArray[np.int64]:
    """Frames whose mean saliency, of pixels that have any, is among the highest ``share``; at least one (IOA)."""
    means = [float(one[one > 0].mean()) if (one > 0).any() else 0.0 for one in maps]
    count = max(1, round(share * len(maps)))
    return np.sort(np.argsort(-np.array(means), kind="stable")[:count])


def motion_saliency(flows: Sequence[Flow]) -> Maps:
    """How unlike the usual motion of its frame each pixel moves, [T, H, W] in [0, 1]; the last frame as the one before.

    Args:
        flows: from each frame but the last to the next, at least one.
    """
    maps = [np.linalg.norm(flow - np.median(flow.reshape(-1, 2), axis=0), axis=-1) for flow in flows]
    return _scaled(np.stack([*maps, maps[-1]]).astype(np.float32))


def voted(pictures: Sequence[RgbImage], maps: Maps, *, neighbours: int = 12, rounds: int = 10) -> Maps:
    """NLC's vote: saliency is averaged over small regions, then spread among regions of all frames that are alike.

    A region's neighbours are those nearest in colour and place over the whole video; round by round a region takes the
    mean of theirs and its own. Regions are cells of a grid in place of superpixels.

    Args:
        pictures: uint8 [H, W, 3] of each frame.
        maps: saliency [T, H, W] to begin with.
        neighbours: regions that vote on one.
        rounds: how often.
    """
    height, width = maps.shape[1:]
    grid = (max(1, width // _CELL), max(1, height // _CELL))
    values = np.stack([cv2.resize(one, grid, interpolation=cv2.INTER_AREA) for one in maps]).reshape(-1)
    rows = []
    for rgb in pictures:
        lab = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), grid, interpolation=cv2.INTER_AREA)
        y, x = np.mgrid[0 : grid[1], 0 : grid[0]]
        place = np.stack([y / grid[1], x / grid[0]], -1)
        rows.append(np.concatenate([lab / 255.0, 0.5 * place], -1).reshape(-1, 5))
    features = np.concatenate(rows)
    count = min(neighbours + 1, len(features))
    nearest = np.asarray(cKDTree(features).query(features, k=count)[1]).reshape(len(features), count)
    for _ in range(rounds):
        values = values[nearest].mean(1)
    spread = values.reshape(len(maps), grid[1], grid[0]).astype(np.float32)
    return _scaled(np.stack([cv2.resize(one, (width, height)) for one in spread]))


def masks_of(maps: Maps, threshold: float = 0.4) -> npt.NDArray[np.bool_]:
    """One mask per frame [T, H, W]: where saliency is above the threshold."""
    return np.asarray(maps > threshold)


def _scaled(maps: npt.NDArray[np.floating]) -> Maps:
    """To [0, 1], frame by frame, with 1 at the frame's 99th percentile."""
    low = maps.min((1, 2), keepdims=True)
    high = np.percentile(maps, 99, axis=(1, 2), keepdims=True)
    return np.asarray(np.clip((maps - low) / np.maximum(high - low, 1e-6), 0, 1), dtype=np.float32)
