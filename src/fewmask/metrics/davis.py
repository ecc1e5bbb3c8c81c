"""DAVIS: J and F of every object, semi-supervised (ids are given) or unsupervised (they are assigned)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewmask.datasets.label_maps import VOID
from fewmask.errors import DatasetError
from fewmask.metrics.contour import contour_accuracy
from fewmask.metrics.davis_unsupervised import ProposalFrame, assign_proposals
from fewmask.metrics.label_folders import LabelledVideo, Labels, labelled_videos
from fewmask.metrics.mean_recall_decay import FrameStatistics, frame_statistics
from fewmask.metrics.region import region_similarity

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ObjectScores:
    """J and F of one true object."""

    video: str
    object: int
    J: FrameStatistics
    F: FrameStatistics
    J_per_frame: Floats = field(repr=False)
    F_per_frame: Floats = field(repr=False)


def evaluate_davis(
    gt: str | Path,
    pred: str | Path,
    *,
    unsupervised: bool = False,
    official_quirks: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> list[ObjectScores]:
    """J and F of folders of palette PNGs.

    Semi-supervised, the first and the last frame are left out and pixel values are object ids; an object that the
    prediction has and the ground truth has not is refused. Unsupervised, all frames count and the (up to 20) values
    of the prediction are assigned to objects. Where true maps hold only 0 and 255, 255 is one object; elsewhere it is
    void: background if semi-supervised, left out if unsupervised.

    Args:
        gt: folder with one folder of PNGs per video (or the PNGs of one video).
        pred: folder with the same videos and file names.
        unsupervised: which of the two tasks.
        official_quirks: as `frame_statistics`.
        progress: called with (done, total) after every video.

    Raises:
        DatasetError: a file is missing or unreadable, sizes differ, or a video is too short.
    """
    scores: list[ObjectScores] = []
    videos = labelled_videos(Path(gt), Path(pred))
    for done, video in enumerate(videos, start=1):
        found = (_assigned if unsupervised else _semi_supervised)(video, official_quirks=official_quirks)
        if not found:
            raise DatasetError(f"{video.gt[0].parent}: no object in any label map")
        scores += found
        if progress is not None:
            progress(done, len(videos))
    return scores


def davis_figures(scores: Sequence[ObjectScores]) -> dict[str, float | None]:
    """The figures over all objects of all videos: J&F, then mean, recall and decay of J and of F.

    Raises:
        DatasetError: no object.
    """
    if not scores:
        raise DatasetError("there is no object to average over")
    J, F = ([asdict(statistics) for statistics in group] for group in zip(*((s.J, s.F) for s in scores), strict=True))
    figures = {
        f"{name}-{part.capitalize()}": _mean([statistics[part] for statistics in group])
        for name, group in (("J", J), ("F", F))
        for part in ("mean", "recall", "decay")
    }
    both = _mean([figures["J-Mean"], figures["F-Mean"]])
    return {"J&F-Mean": both} | figures


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean; None if one is undefined."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def object_scores(
    frames: Iterable[tuple[Labels, Labels]], video: str = "", *, official_quirks: bool = False
) -> list[ObjectScores]:
    """J and F of every object id of (predicted, true) label maps; 0 is background.

    Frames in which an object is absent from both count 1.

    Raises:
        DatasetError: no frame, or an object that only the prediction has.
    """
    per_object: dict[int, list[tuple[float, float]]] = {}
    in_truth: set[int] = set()
    length = 0
    for length, (pred, gt) in enumerate(frames, start=1):
        here = set(np.unique(gt).tolist()) - {0}
        in_truth |= here
        for value in sorted(here | (set(np.unique(pred).tolist()) - {0})):
            values = per_object.setdefault(value, [])
            values += [(1.0, 1.0)] * (length - 1 - len(values))
            mask, true_mask = pred == value, gt == value
            values.append((float(region_similarity(mask, true_mask)), float(contour_accuracy(mask, true_mask))))
    if not length:
        raise DatasetError(f"video {video!r}: no frame to evaluate; the first and the last do not count")
    surplus = sorted(per_object.keys() - in_truth)
    if surplus:
        raise DatasetError(
            f"video {video!r}: the prediction has object {surplus[0]}, the ground truth has only {sorted(in_truth)}"
        )
    scores = []
    for value in sorted(in_truth):
        values = per_object[value] + [(1.0, 1.0)] * (length - len(per_object[value]))
        J, F = np.array(values).T
        J_statistics, F_statistics = (frame_statistics(v, official_quirks=official_quirks) for v in (J, F))
        scores.append(ObjectScores(video, value, J_statistics, F_statistics, J, F))
    return scores


def _semi_supervised(video: LabelledVideo, *, official_quirks: bool) -> list[ObjectScores]:
    single = video.has_one_object()
    frames = _ids(video.without_ends().frames(), single=single)
    return object_scores(frames, video.name, official_quirks=official_quirks)


def _ids(frames: Iterable[tuple[Labels, Labels]], *, single: bool) -> Iterator[tuple[Labels, Labels]]:
    """Label maps with void, or everything but one object, taken out."""
    for pred, gt in frames:
        if single:
            yield (pred != 0).astype(np.uint8), (gt != 0).astype(np.uint8)
        else:
            yield np.where(pred == VOID, 0, pred), np.where(gt == VOID, 0, gt)


def _assigned(video: LabelledVideo, *, official_quirks: bool) -> list[ObjectScores]:
    single = video.has_one_object()
    return [
        ObjectScores(video.name, row.object, row.J, row.F, row.J_per_frame, row.F_per_frame)
        for row in assign_proposals(_proposal_frames(video, single=single), official_quirks=official_quirks)
    ]


def _proposal_frames(video: LabelledVideo, *, single: bool) -> Iterator[ProposalFrame]:
    for pred, gt in video.frames():
        void = None if single or not (gt == VOID).any() else gt == VOID
        background = {0} if single else {0, VOID}
        proposals, objects = ({v: m == v for v in sorted({*np.unique(m).tolist()} - background)} for m in (pred, gt))
        yield ProposalFrame(proposals, objects, void)
