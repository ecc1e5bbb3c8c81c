"""`fewmask eval`: published metrics of predictions, one sub-command per benchmark."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fewmask.cli.console import Progress, say, say_json
from fewmask.cli.options import Json

app = typer.Typer(no_args_is_help=True, help="Measure predictions: the published metrics, equal to the official ones.")

Gt = Annotated[Path, typer.Option("--gt", help="Ground truth.")]
Pred = Annotated[Path, typer.Option("--pred", help="Predictions.")]
JsonFile = Annotated[Path | None, typer.Option("--json-file", help="Write every figure to this file.", metavar="FILE")]
Plots = Annotated[Path | None, typer.Option("--plots", help="Draw into this folder (SVG).", metavar="DIR")]
Worst = Annotated[int, typer.Option("--worst", help="List so many of the worst videos.", min=0)]
PerCategory = Annotated[bool, typer.Option("--per-category", help="Show every class.")]
ClassAgnostic = Annotated[bool, typer.Option("--class-agnostic", help="One class; category ids mean nothing.")]
Quirks = Annotated[
    bool, typer.Option("--official-quirks", help="Do with ill-formed input what the official evaluator does.")
]
Identities = Annotated[
    float | None,
    typer.Option("--identities", help="Count identity switches of tracks of this score or more.", metavar="SCORE"),
]
Window = Annotated[int, typer.Option("-n", "--window", help="Frames of a VC window.", min=1)]


class DavisTask(StrEnum):
    """How DAVIS predictions are read."""

    semi_supervised = "semi-supervised"
    unsupervised = "unsupervised"


class Folds(StrEnum):
    """How classes are put into folds."""

    youtube_fsvos = "youtube-fsvos"
    one = "one"


@app.command()
def ytvis(
    gt: Gt,
    pred: Pred,
    as_json: Json = False,
    json_file: JsonFile = None,
    class_agnostic: ClassAgnostic = False,
    official_quirks: Quirks = False,
    per_category: PerCategory = False,
    identities: Identities = None,
    plots: Plots = None,
    worst: Worst = 5,
) -> None:
    """YouTube-VIS 2019, 2021, 2022: AP and AR of tracks, twelve figures."""
    where = _Where.checked(gt, pred, as_json, json_file, plots)
    from fewmask.metrics.reports import report_tracks

    _run(
        report_tracks, where, gt=gt, pred=pred, class_agnostic=class_agnostic,
        official_quirks=official_quirks, per_category=per_category, identities_from=identities, worst=worst,
    )  # fmt: skip


@app.command()
def ovis(
    gt: Gt,
    pred: Pred,
    as_json: Json = False,
    json_file: JsonFile = None,
    class_agnostic: ClassAgnostic = False,
    official_quirks: Quirks = False,
    per_category: PerCategory = False,
    identities: Identities = None,
    plots: Plots = None,
    worst: Worst = 5,
) -> None:
    """OVIS: the YouTube-VIS figures, and AP and AR by occlusion."""
    where = _Where.checked(gt, pred, as_json, json_file, plots)
    from fewmask.metrics.reports import report_tracks

    _run(
        report_tracks, where, gt=gt, pred=pred, occlusion=True,
        class_agnostic=class_agnostic, official_quirks=official_quirks, per_category=per_category,
        identities_from=identities, worst=worst,
    )  # fmt: skip


@app.command()
def davis(
    gt: Gt,
    pred: Pred,
    task: Annotated[DavisTask, typer.Option(help="Object ids are given, or assigned.")] = DavisTask.semi_supervised,
    official_quirks: Quirks = False,
    as_json: Json = False,
    json_file: JsonFile = None,
    plots: Plots = None,
    worst: Worst = 5,
) -> None:
    """DAVIS: J and F of folders VIDEO/FRAME.png, with recall and decay."""
    where = _Where.checked(gt, pred, as_json, json_file, plots)
    from fewmask.metrics.reports import report_davis

    _run(
        report_davis, where, gt=gt, pred=pred, unsupervised=task is DavisTask.unsupervised,
        official_quirks=official_quirks, worst=worst,
    )  # fmt: skip


@app.command()
def fsvos(
    gt: Gt,
    pred: Annotated[list[Path], typer.Option("--pred", help="Result file; give it once per run.")],
    folds: Annotated[Folds, typer.Option(help="Four folds of YouTube-VIS 2019, or one of all classes.")] = Folds.one,
    only_predicted: Annotated[
        bool, typer.Option("--only-predicted", help="Leave out what the results have no entry for (support videos).")
    ] = False,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Count frames without the class too (MiniVSPW).")
    ] = False,
    window: Window = 7,
    as_json: Json = False,
    json_file: JsonFile = None,
    per_category: PerCategory = False,
    plots: Plots = None,
    worst: Worst = 5,
) -> None:
    """Few-shot video segmentation: J, F and VC over frames, classes, folds and runs, from YouTube-VIS files."""
    where = _Where.checked(gt, pred, as_json, json_file, plots)
    from fewmask.metrics.fsvos_tracks import youtube_fsvos_fold
    from fewmask.metrics.reports import report_fsvos

    fold_of = youtube_fsvos_fold if folds is Folds.youtube_fsvos else lambda _: 1
    _run(
        report_fsvos, where, gt=gt, preds=pred, fold_of=fold_of,
        only_predicted=only_predicted, every_frame=every_frame, window=window, per_category=per_category, worst=worst,
    )  # fmt: skip


@app.command()
def coco(
    gt: Gt,
    pred: Pred,
    with_classes: Annotated[
        bool, typer.Option("--with-classes", help="Mean over classes instead of one class.")
    ] = False,
    as_json: Json = False,
    json_file: JsonFile = None,
) -> None:
    """COCO masks: class-agnostic AP, AP50, AP75, by size, and AR with 1, 3 and 5 detections an image."""
    _Where.checked(gt, pred, as_json, json_file)
    from fewmask.metrics.reports import report_coco

    made = report_coco(gt, pred, class_agnostic=not with_classes)
    show(made, as_json=as_json, json_file=json_file)


@app.command()
def vc(
    gt: Gt,
    pred: Pred,
    window: Window = 7,
    foreground: Annotated[
        int | None, typer.Option(help="Label that VIPMT's and TTI's VC look at; by default all but 0.")
    ] = None,
    as_json: Json = False,
    json_file: JsonFile = None,
    plots: Plots = None,
    worst: Worst = 5,
) -> None:
    """Video consistency of folders VIDEO/FRAME.png under its three definitions: VIPMT's, TTI's and VSPW's."""
    where = _Where.checked(gt, pred, as_json, json_file, plots)
    from fewmask.metrics.reports import report_vc

    _run(
        report_vc,
        where,
        gt=gt,
        pred=pred,
        window=window,
        foreground=foreground,
        worst=worst,
    )


@dataclass(frozen=True)
class _Where:
    """Where a report goes besides the terminal."""

    as_json: bool
    json_file: Path | None
    plots: Path | None = None

    @classmethod
    def checked(
        cls, gt: Path, pred: Path | list[Path], as_json: bool, json_file: Path | None, plots: Path | None = None
    ) -> "_Where":
        """Refuse inputs that are not there, and what would be overwritten, before anything slow is imported."""
        from fewmask.errors import ConfigError
        from fewmask.pipelines.early_checks import check_files

        for one in pred if isinstance(pred, list) else [pred]:
            check_files({"--gt": gt, "--pred": one})
        for path in (json_file, plots):
            if path is not None and (path.is_file() or (path.is_dir() and any(path.iterdir()))):
                raise ConfigError(f"{path}: is already there; give another name or remove it first")
        return cls(as_json, json_file, plots)


def _run(report: Callable[..., Any], where: _Where, **arguments: Any) -> None:
    """Make the report with a progress bar, then show it."""
    with Progress("evaluated", quiet=where.as_json) as progress:
        made = report(plots=where.plots, progress=progress, **arguments)
    show(made, as_json=where.as_json, json_file=where.json_file)


def show(made: Any, *, as_json: bool, json_file: Path | None) -> None:
    """Print a report as tables, or its figures as one JSON object; write them to the file, if one is wanted."""
    from fewmask.media.atomic import write_json

    if json_file is not None:
        write_json(json_file, made.figures, indent=1)
    if as_json:
        say_json(made.figures)
        return
    _draw_tables(made.tables)
    for path in made.drawn:
        say(f"drawn: {path}")
    if json_file is not None:
        say(f"figures: {json_file}")


def _draw_tables(tables: Any) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for table in tables:
        shown = Table(title=table.title, title_justify="left")
        for index, column in enumerate(table.columns):
            shown.add_column(column, justify="left" if index == 0 else "right")
        for row in table.rows:
            shown.add_row(*(Text(cell.encode("utf-8", "replace").decode()) for cell in row))
        console.print(shown)
