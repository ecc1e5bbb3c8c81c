"""`fewmask benchmark NAME --data ROOT --out DIR`: a paper's tables on its own data."""

from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import Progress, note, say, say_json
from fewmask.cli.options import Device, Json, Resume

_WHAT, _NETWORKS, _TRIAL = "What is measured", "Networks", "For a trial"


def benchmark(
    name: Annotated[str | None, typer.Argument(help="See --list.", show_default=False)] = None,
    *,
    show: Annotated[bool, typer.Option("--list", help="List the benchmarks and what each needs.")] = False,
    data: Annotated[Path | None, typer.Option(help="Root of the dataset.", metavar="DIR")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; must be empty unless --resume.", metavar="DIR")
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option(help="This table only; repeat it for more.", rich_help_panel=_WHAT)
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(help="Folder of split files; made alike without.", metavar="DIR", rich_help_panel=_WHAT),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=0, help="Seeds of training or runs of supports; 0 = the paper's.", rich_help_panel=_WHAT)
    ] = 0,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Trained weights, for all or in fold-1 to fold-4; nothing is trained.", rich_help_panel=_NETWORKS
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Of the trainings.", metavar="FILE", rich_help_panel=_NETWORKS)
    ] = None,
    start_from: Annotated[
        str | None, typer.Option(help="Weights that trainings start from.", rich_help_panel=_NETWORKS)
    ] = None,
    initial: Annotated[
        Path | None,
        typer.Option(help="ImageNet checkpoint of the backbone.", metavar="FILE", rich_help_panel=_NETWORKS),
    ] = None,
    pool: Annotated[
        Path | None,
        typer.Option(help="Index to retrieve supports from.", metavar="INDEX", rich_help_panel=_NETWORKS),
    ] = None,
    proposals: Annotated[
        str, typer.Option(help="Of mining: minvis or maskrcnn.", rich_help_panel=_NETWORKS)
    ] = "minvis",
    limit: Annotated[
        int,
        typer.Option(min=0, help="Measure so many videos or episodes of each part; 0 = all.", rich_help_panel=_TRIAL),
    ] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of every training, instead of the recipe's.", rich_help_panel=_TRIAL)
    ] = None,
    device: Device = "auto",
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Run a paper's tables on its own data; figures stand beside the paper's."""
    import sys

    from fewmask.errors import ConfigError
    from fewmask.pipelines.benchmarks.registry import BENCHMARKS
    from fewmask.pipelines.benchmarks.request import BenchmarkRequest

    if show:
        if as_json:
            say_json(
                {
                    entry.name: {"what": entry.what, "tables": entry.tables, "needs": entry.needs}
                    for entry in BENCHMARKS.values()
                }
            )
        else:
            for entry in BENCHMARKS.values():
                say(f"{entry.name:<22}{entry.what}")
                say(f"{'':<22}tables: {', '.join(entry.tables)}; full scale: {entry.needs}")
        return
    if name is None or data is None or out is None:
        raise ConfigError("benchmark takes NAME, --data ROOT and --out DIR; --list shows the names")
    request = BenchmarkRequest(
        name, data, out, tuple(table or ()), weights, recipe, start_from, initial, split, pool, proposals, limit,
        steps, repeats, device, resume, tuple(sys.argv),
    )  # fmt: skip

    from fewmask.pipelines.benchmarks.run import run_benchmark

    with Progress("benchmark", quiet=as_json) as bar:
        done = run_benchmark(
            request, lambda stage: None if as_json else note(f"{stage} ..."), lambda _, now, total: bar(now, total)
        )
    if as_json:
        import json

        say_json(json.loads(done.figures.read_text(encoding="utf-8")))
        return
    say(done.page.read_text(encoding="utf-8").rstrip())
    say(f"figures: {done.figures}")
