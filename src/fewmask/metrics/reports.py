"""From files to a report: read, evaluate, and lay out what `fewmask eval` prints, draws and writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.datasets.ytvis import read_ytvis, read_ytvis_results
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.metrics.davis import davis_figures, evaluate_davis
from fewmask.metrics.fsvos import WINDOW, FsvosVideo, aggregate_fsvos
from fewmask.metrics.fsvos_tracks import score_fsvos_tracks
from fewmask.metrics.identities import evaluate_identities
from fewmask.metrics.ovis import evaluate_ovis
from fewmask.metrics.plots import plot_frames, plot_precision_recall, plot_videos
from fewmask.metrics.vc_folders import evaluate_vc
from fewmask.metrics.ytvis import evaluate_ytvis

Figure = float | None
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Table:
    """A table for people; numbers are formatted."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation tells."""

    figures: dict[str, Any]
    """Everything, ready for JSON; undefined is None."""
    tables: tuple[Table, ...]
    drawn: tuple[Path, ...] = field(default=())


def report_tracks(
    gt: Path,
    pred: Path,
    *,
    occlusion: bool = False,
    class_agnostic: bool = False,
    official_quirks: bool = False,
    per_category: bool = False,
    identities_from: float | None = None,
    plots: Path | None = None,
    worst: int = 5,
    progress: Progress | None = None,
) -> Report:
    """YouTube-VIS, or OVIS if ``occlusion``.

    Args:
        gt: ground truth JSON.
        pred: result JSON.
        occlusion: add the figures by occlusion.
        class_agnostic: one class.
        official_quirks: as the official evaluator on ill-formed input.
        per_category: a table, and drawings, of every class.
        identities_from: also count identity switches, of tracks of this score or more.
        plots: folder to draw into.
        worst: videos to list.
        progress: called with (done, total).

    Raises:
        DatasetError: a file is malformed, or the two do not fit.
    """
    dataset = read_ytvis(gt)
    results = read_ytvis_results(pred, dataset, any_category=class_agnostic, lenient=official_quirks)
    scores = (evaluate_ovis if occlusion else evaluate_ytvis)(
        dataset, results, class_agnostic=class_agnostic, official_quirks=official_quirks, progress=progress
    )
    figures: dict[str, Any] = {
        "stats": scores.stats,
        "per_category": {label: asdict(value) for label, value in scores.per_category.items()},
        "per_video": {str(video.video_id): {"AR": video.AR, "tracks": video.tracks} for video in scores.per_video},
    }
    tables = [_figures_table("OVIS" if occlusion else "YouTube-VIS", scores.stats)]
    if per_category:
        tables.append(_category_table(dataset, figures["per_category"]))
    if identities_from is not None:
        counts = evaluate_identities(dataset, results, min_score=identities_from, class_agnostic=class_agnostic)
        figures["identities"] = asdict(counts)
        tables.append(Table("Identities", tuple(figures["identities"]), (tuple(map(str, asdict(counts).values())),)))
    names = _video_names(dataset)
    found = {names[video.video_id]: video.AR for video in scores.per_video if video.AR is not None}
    tables += _worst_table("AR", found, worst)
    drawn = []
    if plots is not None:
        drawn += plot_precision_recall(plots, scores.curves, per_category=per_category)
        drawn += plot_videos(plots, "AR of each video", found)
    return Report(figures, tuple(tables), tuple(drawn))


def report_davis(
    gt: Path,
    pred: Path,
    *,
    unsupervised: bool = False,
    official_quirks: bool = False,
    plots: Path | None = None,
    worst: int = 5,
    progress: Progress | None = None,
) -> Report:
    """DAVIS folders of palette PNGs; arguments as `report_tracks`.

    Raises:
        DatasetError: as `evaluate_davis`.
    """
    scores = evaluate_davis(gt, pred, unsupervised=unsupervised, official_quirks=official_quirks, progress=progress)
    stats = davis_figures(scores)
    per_video: dict[str, dict[str, Any]] = {}
    for score in scores:
        objects = per_video.setdefault(score.video, {})
        objects[str(score.object)] = {"J": asdict(score.J), "F": asdict(score.F)}
    means = {
        name: float(np.mean([(value["J"]["mean"] + value["F"]["mean"]) / 2 for value in objects.values()]))
        for name, objects in per_video.items()
    }
    tables = (
        _figures_table("DAVIS " + ("unsupervised" if unsupervised else "semi-supervised"), stats),
        *_worst_table("J&F", means, worst),
    )
    drawn = [] if plots is None else [*plot_frames(plots, scores), *plot_videos(plots, "J&F of each video", means)]
    return Report({"stats": stats, "per_video": per_video}, tables, tuple(drawn))


def report_fsvos(
    gt: Path,
    preds: Sequence[Path],
    *,
    fold_of: Callable[[int], int],
    only_predicted: bool = False,
    every_frame: bool = False,
    window: int = WINDOW,
    per_category: bool = False,
    plots: Path | None = None,
    worst: int = 5,
    progress: Progress | None = None,
) -> Report:
    """Few-shot segmentation on YouTube-VIS files; one result file per run, other arguments as `score_fsvos_tracks`.

    Raises:
        DatasetError: a file is malformed, or the two do not fit.
    """
    dataset = read_ytvis(gt)
    videos: list[FsvosVideo] = []
    for run, pred in enumerate(preds):
        videos += score_fsvos_tracks(
            dataset,
            read_ytvis_results(pred, dataset),
            fold_of=fold_of,
            run=run,
            only_predicted=only_predicted,
            every_frame=every_frame,
            window=window,
            progress=progress,
        )
    scores = aggregate_fsvos(videos)
    figures = {
        "stats": scores.overall,
        "window": window,
        "per_run": {str(run): value for (run,), value in scores.per_run.items()},
        "per_fold": [{"run": run, "fold": fold, **value} for (run, fold), value in scores.per_fold.items()],
        "per_class": [
            {"run": run, "fold": fold, "class": class_id, **value}
            for (run, fold, class_id), value in scores.per_class.items()
        ],
    }
    names = list(scores.overall)
    tables = [_figures_table(f"Few-shot segmentation, VC over {window} frames", scores.overall)]
    tables.append(_rows_table("Folds", ("run", "fold"), names, scores.per_fold))
    if per_category:
        tables.append(_rows_table("Classes", ("run", "fold", "class"), names, scores.per_class))
    of_video: dict[str, list[float]] = {}
    for video in videos:
        of_video.setdefault(video.video, []).append(float(video.J.mean()))
    means = {name: float(np.mean(values)) for name, values in of_video.items()}
    tables += _worst_table("J", means, worst)
    drawn = [] if plots is None else plot_videos(plots, "J of each video", means)
    return Report(figures, tuple(tables), tuple(drawn))


def report_coco(gt: Path, pred: Path, *, class_agnostic: bool = True) -> Report:
    """COCO masks.

    Raises:
        DatasetError: a file is malformed, or the two do not fit.
    """
    from fewmask.datasets.coco import read_coco
    from fewmask.datasets.coco_results import read_coco_results
    from fewmask.metrics.coco import evaluate_coco

    dataset = read_coco(gt)
    results = read_coco_results(pred, dataset, any_category=class_agnostic)
    stats = evaluate_coco(dataset, results, class_agnostic=class_agnostic)
    title = "COCO masks, " + ("class-agnostic" if class_agnostic else "mean over classes")
    return Report({"stats": stats}, (_figures_table(title, stats),))


def report_vc(
    gt: Path,
    pred: Path,
    *,
    window: int = WINDOW,
    foreground: int | None = None,
    plots: Path | None = None,
    worst: int = 5,
    progress: Progress | None = None,
) -> Report:
    """Video consistency of folders of label maps; arguments as `evaluate_vc`.

    Raises:
        DatasetError: as `evaluate_vc`.
    """
    scores = evaluate_vc(gt, pred, n=window, foreground=foreground, progress=progress)
    means = {name: vc for name, value in scores.per_video.items() if (vc := value["VC_vipmt"]) is not None}
    tables = (
        _figures_table(f"Video consistency over {window} frames", scores.stats),
        *_worst_table("VC_vipmt", means, worst),
    )
    drawn = [] if plots is None else plot_videos(plots, "VC_vipmt of each video", means)
    return Report({"stats": scores.stats, "window": window, "per_video": scores.per_video}, tables, tuple(drawn))


def _figures_table(title: str, stats: Mapping[str, Figure]) -> Table:
    return Table(title, ("figure", "value"), tuple((name, _shown(value)) for name, value in stats.items()))


def _category_table(dataset: YtvisDataset, per_category: Mapping[str, Mapping[str, Figure]]) -> Table:
    names = {str(category.id): category.name for category in dataset.categories}
    rows = tuple(
        (label, names.get(label, ""), *(_shown(value) for value in figures.values()))
        for label, figures in per_category.items()
    )
    return Table("Classes", ("id", "name", "AP", "AP50", "AR100"), rows)


def _rows_table(
    title: str, keys: tuple[str, ...], names: Sequence[str], values: Mapping[tuple[int, ...], Mapping[str, Figure]]
) -> Table:
    rows = tuple((*map(str, key), *(_shown(figures[name]) for name in names)) for key, figures in values.items())
    return Table(title, (*keys, *names), rows)


def _worst_table(name: str, scores: Mapping[str, float], worst: int) -> list[Table]:
    """The lowest scores, worst first; no table where there is nothing to list."""
    rows = sorted(scores.items(), key=lambda item: item[1])[:worst]
    return [Table("Worst videos", ("video", name), tuple((k, _shown(v)) for k, v in rows))] if rows else []


def _video_names(dataset: YtvisDataset) -> dict[int, str]:
    """Id and, where the file names tell it, folder of each video."""
    return {
        video.id: f"{video.id} {Path(video.file_names[0]).parent}".removesuffix(" .")
        if video.file_names
        else str(video.id)
        for video in dataset.videos
    }


def _shown(value: Figure) -> str:
    return "undefined" if value is None else f"{value:.4f}"
