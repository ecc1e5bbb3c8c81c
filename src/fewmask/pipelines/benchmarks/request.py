"""What a user of `fewmask benchmark` asks for, and what can be told wrong about it before a network loads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.errors import ConfigError
from fewmask.pipelines.benchmarks.registry import benchmark_of
from fewmask.pipelines.early_checks import check_choice, check_device, check_files, check_free, check_weights


@dataclass(frozen=True)
class BenchmarkRequest:
    """One call of `fewmask benchmark`.

    Attributes:
        name: one of `fewmask.pipelines.benchmarks.registry.BENCHMARKS`.
        data: root of the dataset.
        out: folder of the run.
        tables: some of the benchmark's; empty = all.
        weights: trained before: nothing is trained. Of few-shot folds also a folder with ``fold-1`` to ``fold-4``.
        recipe: of the trainings.
        start_from: weights that they start from.
        initial: ImageNet checkpoint for the backbone of VIPMT or Self-Shot.
        split: folder that ``fewmask convert-data --split`` wrote; None = the same splits, made here.
        pool: index of unlabelled videos, for retrieved and random supports.
        proposals: of mining: minvis or maskrcnn.
        limit: only so many videos or episodes of each part are measured, for a trial; 0 = all.
        steps: of every training, instead of the recipe's.
        repeats: seeds or runs; 0 = the paper's.
        device: auto, cpu, cuda, cuda:N or mps.
        resume: go on with the run in ``out``.
        command: as typed.
    """

    name: str
    data: Path
    out: Path
    tables: tuple[str, ...] = ()
    weights: str | None = None
    recipe: Path | None = None
    start_from: str | None = None
    initial: Path | None = None
    split: Path | None = None
    pool: Path | None = None
    proposals: str = "minvis"
    limit: int = 0
    steps: int | None = None
    repeats: int = 0
    device: str = "auto"
    resume: bool = False
    command: Sequence[str] = ("fewmask", "benchmark")

    def check(self) -> None:
        """Words, numbers and paths.

        Raises:
            FewmaskError: one of them cannot be.
        """
        benchmark = benchmark_of(self.name)
        for table in self.tables:
            check_choice(table, benchmark.tables, "table")
        check_choice(self.proposals, ("minvis", "maskrcnn"), "proposals")
        check_device(self.device)
        check_files({"--recipe": self.recipe, "--initial": self.initial, "--split": self.split, "--pool": self.pool})
        for weights in (self.weights, self.start_from):
            if weights is not None:
                check_weights(weights)
        if self.limit < 0 or self.repeats < 0 or (self.steps is not None and self.steps < 1):
            raise ConfigError("--limit and --repeats are 0 (all; as the paper) or more, --steps at least 1")
        trained = benchmark.family in ("minvis", "fewshot", "selfshot")
        if trained and self.weights is None and self.recipe is None:
            raise ConfigError(
                f"{self.name}: give --recipe (the paper's is recipes/{benchmark.recipe}), or --weights of a network "
                "that is trained"
            )
        check_free(self.out, resume=self.resume)

    def wanted(self, table: str) -> bool:
        """Whether a table is asked for."""
        return not self.tables or table in self.tables

    def settings(self) -> dict[str, Any]:
        """What decides the figures besides the inputs."""
        return {
            "benchmark": self.name, "tables": list(self.tables), "proposals": self.proposals, "limit": self.limit,
            "steps": self.steps, "repeats": self.repeats,
        }  # fmt: skip
