"""Few-shot video object segmentation: J, F and VC over frames, videos, classes, folds and runs, in that order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError
from fewmask.metrics.contour import contour_accuracy
from fewmask.metrics.mask_arrays import as_bool
from fewmask.metrics.region import region_similarity, shared_and_covered
from fewmask.metrics.video_consistency import vc_tti, vc_vipmt

Floats = npt.NDArray[np.float64]
Figures = dict[str, float | None]
Key = tuple[int, ...]

WINDOW = 7
"""Frames of a VC window in the papers' tables."""


@dataclass(frozen=True, slots=True)
class FsvosVideo:
    """One class in one query video of one run."""

    class_id: int
    J: Floats = field(repr=False)
    """[T]."""
    F: Floats = field(repr=False)
    """[T]."""
    shared: int
    """Pixels of all intersections."""
    covered: int
    """Pixels of all unions."""
    vc_vipmt: float | None
    """None if the video has less frames than a window."""
    vc_tti: float | None
    """None if the video has less frames than a window; 0 if it has exactly as many (TTI's definition)."""
    fold: int = 1
    run: int = 0
    video: str = ""


@dataclass(frozen=True, slots=True)
class FsvosScores:
    """Figures J, F, VC_vipmt, VC_tti and J_accumulated at each level; None where undefined."""

    overall: Figures
    """Mean over runs."""
    per_run: dict[Key, Figures]
    """(run,): mean over folds."""
    per_fold: dict[Key, Figures]
    """(run, fold): mean over classes."""
    per_class: dict[Key, Figures]
    """(run, fold, class): J and F over all frames, VC over videos, J_accumulated over all pixels."""


def score_fsvos_video(
    pred: npt.ArrayLike,
    gt: npt.ArrayLike,
    class_id: int,
    *,
    fold: int = 1,
    run: int = 0,
    video: str = "",
    window: int = WINDOW,
) -> FsvosVideo:
    """Measure one query video.

    Args:
        pred: predicted masks [T, H, W], non-zero is the class.
        gt: true masks of the same shape; first and last frames count like all others.
        class_id: the class.
        fold: its fold.
        run: the run, one draw of supports.
        video: a name for reports.
        window: frames of a VC window.

    Raises:
        DatasetError: the shapes do not fit, or there is no frame.
    """
    first, second = as_bool(pred), as_bool(gt)
    if second.ndim != 3 or not len(second):
        raise DatasetError(f"masks of shape {second.shape}; expected [T, H, W] with at least one frame")
    J = np.asarray(region_similarity(first, second))
    shared, covered = shared_and_covered(first, second)
    long_enough = len(second) >= window
    return FsvosVideo(
        class_id=class_id,
        J=J,
        F=np.asarray(contour_accuracy(first, second)),
        shared=shared,
        covered=covered,
        vc_vipmt=vc_vipmt(first, second, window),
        vc_tti=vc_tti(first, second, window) if long_enough else None,
        fold=fold,
        run=run,
        video=video,
    )


def aggregate_fsvos(
    videos: Iterable[FsvosVideo], classes: Mapping[int, Sequence[int]] | None = None, *, official_quirks: bool = False
) -> FsvosScores:
    """Average as VIPMT does: frames of a class, classes of a fold, folds of a run, runs.

    ``J_accumulated`` is what TTI calls J: intersection over union of all pixels of a class.

    Args:
        videos: one entry per (run, class, query video).
        classes: fold -> classes it must have; by default those that occur.
        official_quirks: a class of ``classes`` that never occurs counts 0, as in the reference; by default it is an
            error, since a mean over fewer classes is no fold mean.

    Raises:
        DatasetError: no video, or a class of ``classes`` never occurs.
    """
    groups: dict[Key, list[FsvosVideo]] = {}
    for video in videos:
        groups.setdefault((video.run, video.fold, video.class_id), []).append(video)
    if not groups:
        raise DatasetError("no query video to average over")
    per_class = {key: _class_figures(group) for key, group in sorted(groups.items())}
    for run, fold in sorted({key[:2] for key in groups}):
        for class_id in (classes or {}).get(fold, ()):
            if (run, fold, class_id) not in groups:
                if not official_quirks:
                    raise DatasetError(f"run {run}, fold {fold}: class {class_id} has no query video")
                per_class[run, fold, class_id] = dict.fromkeys(_FIGURES, 0.0)
    per_fold = _means(per_class, 2)
    per_run = _means(per_fold, 1)
    return FsvosScores(_mean(list(per_run.values())), per_run, per_fold, per_class)


_FIGURES = ("J", "F", "VC_vipmt", "VC_tti", "J_accumulated")


def _class_figures(videos: Sequence[FsvosVideo]) -> Figures:
    covered = sum(video.covered for video in videos)
    return {
        "J": float(np.concatenate([video.J for video in videos]).mean()),
        "F": float(np.concatenate([video.F for video in videos]).mean()),
        "VC_vipmt": _defined([video.vc_vipmt for video in videos]),
        "VC_tti": _defined([video.vc_tti for video in videos]),
        "J_accumulated": sum(video.shared for video in videos) / covered if covered else 1.0,
    }


def _means(level: Mapping[Key, Figures], keys: int) -> dict[Key, Figures]:
    """Means over everything that shares its first ``keys`` keys."""
    groups: dict[Key, list[Figures]] = {}
    for key, figures in level.items():
        groups.setdefault(key[:keys], []).append(figures)
    return {key: _mean(group) for key, group in groups.items()}


def _mean(group: Sequence[Figures]) -> Figures:
    return {name: _defined([figures[name] for figures in group]) for name in _FIGURES}


def _defined(values: Sequence[float | None]) -> float | None:
    """Mean of those that are defined."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
