"""Tracks of a query out of single frames of Siamese Mask R-CNN: masks linked by their overlap."""

from collections.abc import Sequence
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment

from fewmask.datasets.ytvis_types import YtvisVideo
from fewmask.media import rle
from fewmask.media.batches import batches
from fewmask.media.clip_place import ClipPlace
from fewmask.media.frames import open_frames
from fewmask.media.rle import Rle
from fewmask.selfshot.evaluate import Track
from fewmask.selfshot.siamese import SiameseMaskRcnn
from fewmask.selfshot.supports import read_support, resized

LEAST_IOU = 0.3
"""Below it a mask goes on with no track of the frame before."""
Frame = tuple[list[float], list[Rle]]
"""Scores and masks of one frame."""


def siamese_tracks(
    network: SiameseMaskRcnn, video: YtvisVideo, root: Path, supports: Sequence[ClipPlace]
) -> list[Track]:
    """What is found in one query: (score, masks) of every track; the score is the mean over all frames of the video.

    Args:
        network: in evaluation mode.
        video: the query.
        root: folder of its frame files.
        supports: what to look for.

    Raises:
        VideoError: a frame of the query or of a support cannot be read.
    """
    device = next(network.parameters()).device
    config = network.config
    with torch.inference_mode():
        clips = [read_support(place, config.support_frames, config.size).to(device) for place in supports]
        means = network.means(clips)
        with open_frames([root / name for name in video.file_names]) as frames:
            found: list[Frame] = []
            for batch in batches((frame.rgb for frame in frames), config.frames):
                size = (batch[0].shape[0], batch[0].shape[1])
                for frame in network(resized(batch, config.size).to(device), means, size):
                    seen = frame["masks"].flatten(1).any(1)
                    masks = frame["masks"][seen].cpu().numpy()
                    found.append((frame["scores"][seen].tolist(), rle.encode_many(masks) if len(masks) else []))
    return linked(found)


def linked(frames: Sequence[Frame]) -> list[Track]:
    """Tracks of masks: those of a frame go to the tracks of the frame before by the assignment of largest total IoU."""
    tracks: list[tuple[list[float], list[Rle | None]]] = []
    live: dict[int, Rle] = {}  # track -> its mask in the frame before
    for t, (scores, masks) in enumerate(frames):
        before, live = list(live.items()), {}
        taken: dict[int, int] = {}
        if before and masks:
            overlap = rle.iou_matrix(masks, [mask for _, mask in before])
            for row, column in zip(*linear_sum_assignment(-overlap), strict=True):
                if overlap[row, column] >= LEAST_IOU:
                    taken[int(row)] = before[column][0]
        for place, (score, mask) in enumerate(zip(scores, masks, strict=True)):
            track = taken.get(place)
            if track is None:
                track = len(tracks)
                tracks.append(([], [None] * len(frames)))
            tracks[track][0].append(score)
            tracks[track][1][t] = mask
            live[track] = mask
    return [(sum(scores) / len(frames), masks) for scores, masks in tracks]
