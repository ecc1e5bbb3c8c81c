"""How well a segmenter finds the kinds in held-out videos, by what the other witnesses agreed on there.

Nobody has labelled these videos. What is measured is agreement: the taught segmenter, which has not seen them, against
masks on which few-shot network, background network and looks agree. It rises while teaching teaches the kind, and
falls when the loop begins to believe its own mistakes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewmask.errors import VideoError
from fewmask.media import rle
from fewmask.media.frames import open_frames
from fewmask.media.results import FrameResult
from fewmask.media.rle import Rle
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.pipelines.grow.kept_dataset import JudgedVideo

LEAST_SCORE = 0.3
AT_ONCE = 4


@dataclass(frozen=True)
class Agreement:
    """Over held-out videos.

    Attributes:
        j: mean IoU of a kind's pixels, over the frames where witnesses or segmenter see it.
        one_id: share of frames with the kind in which its largest object has the video's commonest id.
        frames: how many were looked at.
    """

    j: float
    one_id: float
    frames: int


def agreement(model: MinVIS, videos: Sequence[JudgedVideo], kinds: Sequence[str]) -> Agreement:
    """The segmenter's tracks called like the kinds, against the kept masks.

    Args:
        model: with the kinds' names among its classes; without any the best object of a frame stands in.
        videos: held out.
        kinds: names, in the order of the verdicts.
    """
    ids_of = {name: number for number, name in model.categories.items()}
    j: list[float] = []
    stays: list[float] = []
    for video in videos:
        wanted = _wanted(video, kinds)
        found = _found(model, video, {ids_of[name] for name in kinds if name in ids_of})
        for index in wanted.keys() | found.keys():
            ours, theirs = [mask for _, mask in found.get(index, [])], wanted.get(index, [])
            if ours and theirs:
                j.append(float(rle.iou_matrix([rle.union(ours)], [rle.union(theirs)])[0, 0]))
            else:
                j.append(0.0)
        largest = [max(rows, key=lambda row: rle.area(row[1]))[0] for rows in found.values() if rows]
        if largest:
            _, counts = np.unique(largest, return_counts=True)
            stays += [1.0] * int(counts.max()) + [0.0] * int(counts.sum() - counts.max())
    return Agreement(float(np.mean(j)) if j else 0.0, float(np.mean(stays)) if stays else 0.0, len(j))


def _wanted(video: JudgedVideo, kinds: Sequence[str]) -> dict[int, list[Rle]]:
    masks: dict[int, list[Rle]] = {}
    for track in video.tracks("kept"):
        if video.verdicts[track.track].kind < len(kinds):
            for index, mask in track.masks.items():
                masks.setdefault(index, []).append(mask)
    return masks


def _found(model: MinVIS, video: JudgedVideo, categories: set[int]) -> dict[int, list[tuple[int, Rle]]]:
    """By frame, (track id, mask) of the tracks of these classes; of the best track where there are no such classes."""
    rows: dict[int, list[tuple[int, Rle]]] = {}
    settings = StreamSettings(mode="exact", batch=AT_ONCE)
    step = video.found.step
    with open_frames(video.found.source, skip_broken=True) as frames:
        try:
            seen = (frame for frame in frames if frame.index % step == 0 and frame.index < video.found.length)
            for group in model.open_stream(settings).run(seen):
                for result in group:
                    kept = _called(result, categories)
                    rows[result.index] = kept if categories else kept[:1]
        except VideoError:
            pass  # it was looked at as far as it goes
    return {index: kept for index, kept in rows.items() if kept}


def _called(result: FrameResult, categories: set[int]) -> list[tuple[int, Rle]]:
    """(track id, mask) of a frame's sure tracks of these classes; of any class where there are none."""
    rows = zip(result.track_ids, result.category_ids, result.scores, result.masks, strict=True)
    return [
        (track_id, mask)
        for track_id, category, score, mask in rows
        if mask is not None and score >= LEAST_SCORE and (category in categories or not categories)
    ]
