"""Track ids for the masks that the best path selected, from their overlap over time.

The paper needs no tracks: it trains on single frames. Here the selection is consistent over the video already, so
linking is plain: each frame's masks go to the live tracks by the assignment of largest total IoU.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from fewmask.media import rle
from fewmask.media.rle import Rle


def link_tracks(frames: Sequence[Sequence[Rle]], least_iou: float, gap: int) -> list[list[int]]:
    """Give every mask a track id.

    Args:
        frames: selected masks per consecutive frame, all of one size.
        least_iou: IoU with the track's last mask below which a mask starts a new track, in (0, 1].
        gap: a track unseen for this many frames has ended; 1 allows no hole.

    Returns:
        Ids per frame, in the order of the masks; ids count from 1 in order of appearance.
    """
    last_seen: dict[int, tuple[int, Rle]] = {}
    ids: list[list[int]] = []
    newest = 0
    for t, masks in enumerate(frames):
        live = list(last_seen)
        found = [0] * len(masks)
        overlap = rle.iou_matrix(list(masks), [last_seen[track][1] for track in live])
        for row, column in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[row, column] >= least_iou:
                found[row] = live[column]
        for i, mask in enumerate(masks):
            if not found[i]:
                newest += 1
                found[i] = newest
            last_seen[found[i]] = (t, mask)
        last_seen = {track: seen for track, seen in last_seen.items() if t - seen[0] < gap}  # the next frame is t + 1
        ids.append(found)
    return ids


def stability(frames: Sequence[Sequence[Rle]], ids: Sequence[Sequence[int]]) -> list[list[float]]:
    """For every mask the mean IoU with its track's masks in the frames just before and after; 0 where there is none."""
    by_track = [dict(zip(tracks, masks, strict=True)) for tracks, masks in zip(ids, frames, strict=True)]
    answer = []
    for t, tracks in enumerate(ids):
        neighbours = [by_track[s] for s in (t - 1, t + 1) if 0 <= s < len(by_track)]
        row = []
        for track in tracks:
            ious = [_iou(by_track[t][track], other[track]) if track in other else 0.0 for other in neighbours]
            row.append(float(np.mean(ious)) if ious else 0.0)
        answer.append(row)
    return answer


def _iou(first: Rle, second: Rle) -> float:
    return float(rle.iou_matrix([first], [second])[0, 0])
