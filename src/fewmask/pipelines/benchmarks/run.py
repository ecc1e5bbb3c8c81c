"""`fewmask benchmark`: check the layout, run the family's stages resumably, write the figures beside the paper's."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from fewmask.media.atomic import write_json, write_text
from fewmask.media.run_directory import RunDirectory
from fewmask.pipelines.benchmarks.layout import find_parts
from fewmask.pipelines.benchmarks.registry import benchmark_of
from fewmask.pipelines.benchmarks.report import Table, as_json, as_markdown
from fewmask.pipelines.benchmarks.request import BenchmarkRequest


@dataclass(frozen=True)
class BenchmarkSummary:
    """What came of a run: the tables, and where they are as JSON and as Markdown."""

    tables: tuple[Table, ...]
    figures: Path
    page: Path


def run_benchmark(
    request: BenchmarkRequest,
    began: Callable[[str], None] = lambda _: None,
    progress: Callable[[str, int, int | None], None] = lambda *_: None,
) -> BenchmarkSummary:
    """Run a benchmark, or go on with it.

    Args:
        request: checked here.
        began: told the name of every stage that begins.
        progress: told (what, done, total) inside a stage.

    Raises:
        DatasetError: a part of the data is missing or malformed; the message names the first.
        FewmaskError: anything wrong with the request, the weights or the folder.
    """
    request.check()
    benchmark = benchmark_of(request.name)
    places = find_parts(request.data, benchmark.parts)

    from fewmask.models.device import resolve_device
    from fewmask.models.weights_input import weights_input
    from fewmask.pipelines.benchmarks.bench import Bench
    from fewmask.pipelines.grow.stages import Stages

    family = import_module(f"fewmask.pipelines.benchmarks.{benchmark.family}")
    family.check_data(places)
    run = RunDirectory.create(
        request.out,
        command=list(request.command),
        inputs={
            "data": [str(place) for place in places.values() if place.is_file()],
            "weights": None if request.weights is None else weights_input(request.weights),
            "start_from": None if request.start_from is None else weights_input(request.start_from),
            "recipe": request.recipe, "initial": request.initial, "split": request.split, "pool": request.pool,
        },
        settings=request.settings(),
        resume=request.resume,
    )  # fmt: skip
    with run:
        bench = Bench(request, benchmark, places, Stages(run.path, began), resolve_device(request.device), progress)
        tables = tuple(family.tables(bench))
        figures, page = run.path / "figures.json", run.path / "figures.md"
        write_json(figures, as_json(request.name, tables), indent=1)
        write_text(page, as_markdown(request.name, tables))
        run.finish()
    return BenchmarkSummary(tables, figures, page)
