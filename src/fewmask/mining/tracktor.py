"""Tracking without bells and whistles (Bergmann, Meinhardt, Leal-Taixé, ICCV 2019) over mask proposals, Tables 1 and 2.

A track goes where the detector moves its last box; what remains of the detections starts new tracks; a lost track comes
back if something new looks like it. The detector's box regression is not at hand for proposals in general: in its place
the track takes the proposal that overlaps its last mask most, which is where regression would have led.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fewmask.mining.proposals import BoolMasks, RgbImage, Scores
from fewmask.mining.tracklets import Piece, Tracklet, best_tracks, colours, disjoint, iou_table, label_maps

Looks = npt.NDArray[np.float64]


@dataclass
class _Track:
    pieces: list[Piece]
    looks: Looks
    lost: int = 0


def tracktor_tracks(
    frames: Sequence[BoolMasks], looks: Sequence[Looks], *, least_iou: float = 0.3, least_likeness: float = 0.85,
    patience: int = 10,
) -> list[Tracklet]:  # fmt: skip
    """Tracks over disjoint masks of successive frames.

    Args:
        frames: masks [N, H, W] of each frame, best first.
        looks: rows of unit length, one per mask.
        least_iou: with the track's last mask, below which it is lost.
        least_likeness: cosine from which on something new is a lost track.
        patience: frames that a lost track is remembered.
    """
    live: list[_Track] = []
    lost: list[_Track] = []
    every: list[_Track] = []
    for t, masks in enumerate(frames):
        free = set(range(len(masks)))
        staying = []
        # Older tracks choose first, as they are regressed before new detections are looked at.
        for track in live:
            last = track.pieces[-1]
            table = iou_table(frames[last.frame][last.mask][None], masks)[0] if len(masks) else np.zeros(0)
            choice = max(free, key=lambda place: (table[place], -place), default=None)
            if choice is None or table[choice] < least_iou:
                track.lost = 0
                lost.append(track)
                continue
            free.discard(choice)
            track.pieces.append(Piece(t, choice))
            track.looks = looks[t][choice]
            staying.append(track)
        live = staying
        for place in sorted(free):
            alike = [(float(track.looks @ looks[t][place]), -number) for number, track in enumerate(lost)]
            best = max(alike, default=(-1.0, 0))
            if best[0] >= least_likeness and lost[-best[1]].pieces[-1].frame < t:
                track = lost.pop(-best[1])
            else:
                track = _Track([], looks[t][place])
                every.append(track)
            track.pieces.append(Piece(t, place))
            track.looks = looks[t][place]
            live.append(track)
        for track in lost:
            track.lost += 1
        lost = [track for track in lost if track.lost <= patience]
    return [tuple(track.pieces) for track in every]


def tracktor(
    pictures: Sequence[RgbImage], proposals: Sequence[tuple[BoolMasks, Scores]], *, least_score: float = 0.1
) -> list[npt.NDArray[np.uint8]]:
    """A video's label maps, at most twenty tracks; proposals below ``least_score`` are not looked at, as in D.2.3."""
    frames, scores = zip(*(disjoint(*found, least_score=least_score) for found in proposals), strict=True)
    looks = [colours(rgb, masks) for rgb, masks in zip(pictures, frames, strict=True)]
    return label_maps(best_tracks(tracktor_tracks(frames, looks), scores), frames)
