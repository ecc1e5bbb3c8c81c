"""UnOVOST (Luiten, Zulfikar, Leibe, WACV 2020): tracklets by flow-warped overlap, merged by looks, at most twenty kept.

The baseline of the paper's Tables 1 and 3, from its description there. Proposals of a frame are first made disjoint,
the better one on top. A tracklet goes on to the mask of the next frame that its last mask, moved along the optical
flow, overlaps most. Tracklets that are not visible together and look alike become one track. Where the paper cuts
paths in a forest of tracklets, here the most alike pair is merged again and again: the same aim, a simpler search.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from fewmask.mining.flow import Flow
from fewmask.mining.overlap import pack, shared_pixels
from fewmask.mining.proposals import BoolMasks, RgbImage, Scores

MOST_TRACKS = 20
"""What DAVIS allows."""
_BINS = 6
_LEAST_LEFT = 0.5  # a proposal of which better ones leave less than this share is dropped


@dataclass(frozen=True)
class Piece:
    """A mask of a tracklet: which one of which frame."""

    frame: int
    mask: int


Tracklet = tuple[Piece, ...]
"""Masks in successive frames; of a merged track, in rising frames."""


def disjoint(masks: BoolMasks, scores: Scores, *, least_score: float = 0.1) -> tuple[BoolMasks, Scores]:
    """Proposals [N, H, W] without shared pixels, by falling score: the best mask that has a pixel keeps it.

    Masks below ``least_score``, and those of which less than half is left, are dropped; others may have their pixels.
    """
    taken = np.zeros(masks.shape[1:], dtype=bool)
    kept, kept_scores = [], []
    for place in np.argsort(-np.asarray(scores), kind="stable").tolist():
        left = masks[place] & ~taken
        if scores[place] < least_score or left.sum() < max(1, _LEAST_LEFT * masks[place].sum()):
            continue
        taken |= left
        kept.append(left)
        kept_scores.append(float(scores[place]))
    return (np.stack(kept) if kept else np.zeros((0, *masks.shape[1:]), bool)), np.array(kept_scores)


def warped(masks: BoolMasks, back: Flow) -> BoolMasks:
    """Masks [N, H, W] of a frame as they would lie in the next one.

    Args:
        masks: of frame t.
        back: flow from frame t + 1 to frame t, [H, W, 2]: where each pixel of the next frame comes from.
    """
    height, width = back.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = columns + back[..., 0], rows + back[..., 1]
    moved = [cv2.remap(mask.astype(np.uint8), x, y, cv2.INTER_NEAREST) > 0 for mask in masks]
    return np.stack(moved) if moved else np.zeros((0, height, width), bool)


def iou_table(rows: BoolMasks, columns: BoolMasks) -> npt.NDArray[np.float64]:
    """IoU of masks [R, H, W] with masks [C, H, W], [R, C]; 0 for two empty ones."""
    shared = shared_pixels(pack(rows), pack(columns)).astype(float)
    areas = rows.sum((1, 2))[:, None] + columns.sum((1, 2))[None] - shared
    return np.asarray(np.divide(shared, areas, out=np.zeros_like(shared), where=areas > 0))


def tracklets(frames: Sequence[BoolMasks], backs: Sequence[Flow], *, least_iou: float = 0.3) -> list[Tracklet]:
    """Chains of masks in successive frames, by the assignment of largest total warped IoU.

    Args:
        frames: disjoint masks of each frame.
        backs: flow from frame t + 1 to t, one less than frames.
        least_iou: what overlaps less does not go on.
    """
    open_: dict[int, list[Piece]] = {}
    found: list[list[Piece]] = []
    for t, masks in enumerate(frames):
        going: dict[int, list[Piece]] = {}
        if t and open_:
            table = iou_table(warped(frames[t - 1], backs[t - 1]), masks)
            for row, column in zip(*linear_sum_assignment(-table), strict=True):
                if table[row, column] >= least_iou:
                    going[int(column)] = open_[int(row)]
        for place in range(len(masks)):
            if place not in going:
                going[place] = []
                found.append(going[place])
            going[place].append(Piece(t, place))
        open_ = going
    return [tuple(chain) for chain in found]


def colours(rgb: RgbImage, masks: BoolMasks) -> npt.NDArray[np.float64]:
    """What masks [N, H, W] of a picture look like, rows of unit length: root of the colour histogram in Lab."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(int) * _BINS // 256
    cell = (lab[..., 0] * _BINS + lab[..., 1]) * _BINS + lab[..., 2]
    rows = [np.sqrt(np.bincount(cell[mask], minlength=_BINS**3) / max(1, mask.sum())) for mask in masks]
    return np.stack(rows) if rows else np.zeros((0, _BINS**3))


def merged(
    chains: Sequence[Tracklet], looks: Sequence[npt.NDArray[np.float64]], *, least_likeness: float = 0.8
) -> list[Tracklet]:
    """Tracks: of all pairs that are never visible together, the most alike is merged, as long as one is alike enough.

    Args:
        chains: tracklets.
        looks: of each frame, one row of unit length per mask.
        least_likeness: cosine of the mean looks of two tracklets from which on they are one.
    """
    tracks = [list(chain) for chain in chains]
    means = [np.mean([looks[piece.frame][piece.mask] for piece in chain], axis=0) for chain in chains]
    weights = [len(chain) for chain in chains]
    visible = [{piece.frame for piece in chain} for chain in chains]
    live = set(range(len(tracks)))

    def likeness(a: int, b: int) -> float:
        if visible[a] & visible[b]:
            return -1.0
        return float(means[a] @ means[b] / max(1e-12, float(np.linalg.norm(means[a]) * np.linalg.norm(means[b]))))

    pairs = {(a, b): likeness(a, b) for a in live for b in live if a < b}
    while pairs:
        (a, b), best = max(pairs.items(), key=lambda item: (item[1], -item[0][0], -item[0][1]))
        if best < least_likeness:
            break
        means[a] = (weights[a] * means[a] + weights[b] * means[b]) / (weights[a] + weights[b])
        weights[a] += weights[b]
        visible[a] |= visible[b]
        tracks[a] = sorted(tracks[a] + tracks[b], key=lambda piece: piece.frame)
        live.discard(b)
        pairs = {pair: value for pair, value in pairs.items() if not {a, b} & set(pair)}
        pairs |= {(min(a, c), max(a, c)): likeness(a, c) for c in live if c != a}
    return [tuple(tracks[place]) for place in sorted(live)]


def best_tracks(tracks: Sequence[Tracklet], scores: Sequence[Scores], most: int = MOST_TRACKS) -> list[Tracklet]:
    """The ``most`` tracks with the largest sum of scores, best first; equal ones keep their order."""
    sums = [sum(float(scores[piece.frame][piece.mask]) for piece in track) for track in tracks]
    return [tracks[place] for place in np.argsort(-np.array(sums), kind="stable").tolist()[:most]]


def label_maps(tracks: Sequence[Tracklet], frames: Sequence[BoolMasks]) -> list[npt.NDArray[np.uint8]]:
    """Maps [H, W] of each frame, as DAVIS wants them: 0, or 1 + the place of the track in the list."""
    maps = [np.zeros(masks.shape[1:], np.uint8) for masks in frames]
    for number, track in reversed(list(enumerate(tracks, 1))):
        for piece in track:
            maps[piece.frame][frames[piece.frame][piece.mask]] = number
    return maps


def unovost(
    pictures: Sequence[RgbImage], proposals: Sequence[tuple[BoolMasks, Scores]], backs: Sequence[Flow],
    *, least_iou: float = 0.3, least_likeness: float = 0.8, least_score: float = 0.1,
) -> list[npt.NDArray[np.uint8]]:  # fmt: skip
    """A video's label maps, at most twenty tracks, no pixel in two.

    Args:
        pictures: uint8 [H, W, 3] of each frame.
        proposals: masks bool [N, H, W] and scores [N] of each frame.
        backs: flow from each frame but the first to the one before it.
        least_iou: see ``tracklets``.
        least_likeness: see ``merged``; above 1 nothing is merged.
        least_score: see ``disjoint``.
    """
    frames, scores = zip(*(disjoint(*found, least_score=least_score) for found in proposals), strict=True)
    looks = [colours(rgb, masks) for rgb, masks in zip(pictures, frames, strict=True)]
    tracks = merged(tracklets(frames, backs, least_iou=least_iou), looks, least_likeness=least_likeness)
    return label_maps(best_tracks(tracks, scores), frames)
