"""A video of squares that move, as a folder of pictures, and what finding says of it."""

import numpy as np
from PIL import Image

from fewmask.media import rle
from fewmask.pipelines.grow.agreement import Evidence, Verdict
from fewmask.pipelines.grow.find import FoundTrack, FoundVideo
from fewmask.pipelines.grow.kept_dataset import JudgedVideo

SIZE = (48, 64)
COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))


def square(frame, track):
    """Mask of a track's square in a frame."""
    mask = np.zeros(SIZE, dtype=bool)
    top, left = 4 + 14 * track, 2 + 2 * frame
    mask[top : top + 10, left : left + 12] = True
    return mask


def write_video(folder, *, frames=8, tracks=3):
    """PNG frames in ``folder``; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(frames):
        rgb = np.full((*SIZE, 3), 90, np.uint8)
        for track in range(tracks):
            rgb[square(frame, track)] = COLOURS[track]
        Image.fromarray(rgb).save(folder / f"{frame:03d}.png")
    return folder


def found_video(name, source, *, frames=8, tracks=3, step=1, kinds=("dog",)):
    """Every square as a track."""
    found = []
    for track in range(tracks):
        masks = {frame: rle.encode(square(frame, track)) for frame in range(0, frames, step)}
        found.append(
            FoundTrack(
                track + 1,
                masks,
                dict.fromkeys(masks, 0.9),
                [100] * len(kinds),
                120 * len(masks),
                [0.8],
                [0.9],
            )
        )
    return FoundVideo(name, str(source), SIZE, tuple(kinds), frames, step, found)


def judged(found, decisions):
    """Verdicts by track: (kind, decision)."""
    sure, unsure = Evidence(0.9, 0.9, 0.9, 0.9, 0.9), Evidence(0.4, 0.4, 0.4, 0.4, 0.4)
    verdicts = {
        track: Verdict(kind, sure if decision == "kept" else unsure, decision)
        for track, (kind, decision) in decisions.items()
    }
    return JudgedVideo(found, verdicts)
