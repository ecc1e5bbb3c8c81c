"""Few-shot segmentation evaluated on YouTube-VIS files: the tracks of one class in one video are one mask per frame."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fewmask.datasets.ytvis_types import YtvisDataset, YtvisResult, YtvisVideo
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.rle import Rle
from fewmask.metrics.fsvos import WINDOW, FsvosVideo, score_fsvos_video
from fewmask.metrics.mask_arrays import BoolMask


def youtube_fsvos_fold(class_id: int) -> int:
    """The fold, 1 to 4, in which a class of YouTube-VIS 2019 is novel (DAN; VIPMT, section 4.1)."""
    return (class_id - 1) % 4 + 1


def score_fsvos_tracks(
    dataset: YtvisDataset,
    results: Sequence[YtvisResult],
    *,
    fold_of: Callable[[int], int],
    run: int = 0,
    only_predicted: bool = False,
    every_frame: bool = False,
    window: int = WINDOW,
    progress: Callable[[int, int | None], None] | None = None,
) -> Iterator[FsvosVideo]:
    """Measure every (class, video) of a ground truth, one after the other.

    Args:
        dataset: the ground truth; the objects of a class in a video are united, crowds included.
        results: predicted masks of one run; those of a class in a video are united, whatever their scores.
        fold_of: class id -> fold.
        run: number of the run.
        only_predicted: measure only what ``results`` has an entry for (support videos are no queries); by default
        what it
            has no entry for counts as predicted empty.
        every_frame: count all annotated frames (MiniVSPW), not only those in which the class is present (YouTube-VIS).
        window: frames of a VC window.
        progress: called with (done, total) after every query.

    Raises:
        DatasetError: there is no query at all.
    """
    videos = {video.id: video for video in dataset.videos}
    truths: dict[tuple[int, int], list[list[Rle | None]]] = {}
    for annotation in dataset.annotations:
        truths.setdefault((annotation.category_id, annotation.video_id), []).append(annotation.segmentations)
    found: dict[tuple[int, int], list[list[Rle | None]]] = {}
    for result in results:
        found.setdefault((result.category_id, result.video_id), []).append(result.segmentations)
    queries = [key for key in truths if key in found or not only_predicted]
    if not queries:
        raise DatasetError("nothing to evaluate: the results have no entry for a class and video of the ground truth")
    for done, key in enumerate(queries, start=1):
        class_id, video_id = key
        frames = _frames(videos[video_id], truths[key], every_frame=every_frame)
        if frames:
            yield score_fsvos_video(
                _united(found.get(key, []), frames, videos[video_id]),
                _united(truths[key], frames, videos[video_id]),
                class_id,
                fold=fold_of(class_id),
                run=run,
                video=str(video_id),
                window=window,
            )
        if progress is not None:
            progress(done, len(queries))


def _frames(video: YtvisVideo, truths: Sequence[list[Rle | None]], *, every_frame: bool) -> list[int]:
    """The frames that count."""
    annotated = range(video.length) if video.annotated_frames is None else video.annotated_frames
    if every_frame:
        return list(annotated)
    return [
        frame for frame in annotated if any((mask := masks[frame]) is not None and rle.area(mask) for masks in truths)
    ]


def _united(tracks: Sequence[list[Rle | None]], frames: Sequence[int], video: YtvisVideo) -> BoolMask:
    """One mask per frame, bool [T, H, W]."""
    stack = np.zeros((len(frames), video.height, video.width), dtype=bool)
    for index, frame in enumerate(frames):
        masks = [mask for masks in tracks if (mask := masks[frame]) is not None]
        if masks:
            stack[index] = rle.decode(rle.union(masks))
    return stack
