"""`fewmask export RUN --format ...`: results, with the corrections made in the studio, in other formats."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import Progress, say, say_json


class ExportFormat(StrEnum):
    """What can be written."""

    ytvis = "ytvis"
    dataset = "dataset"
    coco = "coco"
    davis = "davis"
    cvat = "cvat"
    label_studio = "label-studio"
    overlay = "overlay"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="What `fewmask segment --out` wrote.")],
    *,
    formats: Annotated[
        list[ExportFormat],
        typer.Option(
            "--format",
            help="May be repeated. dataset is YouTube-VIS annotations with pictures: of the frames that were corrected "
            "or confirmed, or of all where none was.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into; by default RUN/corrected.", metavar="DIR")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a run's results in other formats, with every correction made in `fewmask studio`."""
    from fewmask.pipelines.early_checks import check_files

    check_files({"RUN": run})
    from fewmask.corrections.corrected_run import CorrectedRun
    from fewmask.corrections.export import export_corrected

    opened = CorrectedRun.open(run)
    files = []
    for wanted in dict.fromkeys(formats):
        with Progress(wanted.value, quiet=json_output) as progress:
            files.append(export_corrected(opened, wanted.value, out, progress=progress))
    corrections = sum(step.holds for step in opened.steps())
    if json_output:
        say_json({"run": run, "corrections": corrections, "tracks": len(opened.state.tracks), "files": files})
        return
    say(f"{len(opened.state.tracks)} tracks, {corrections} corrections")
    for path in files:
        say(f"  {path}")
