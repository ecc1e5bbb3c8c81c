"""What every training is asked: the recipe, the run's folder, and how to run it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewmask.training.loop import StepReport


@dataclass(frozen=True)
class TrainRequest:
    """What every training needs: the recipe file, the run's folder, and how to run it.

    Attributes:
        steps: instead of the recipe's number of steps.
        report: called with every line of the log.
    """

    recipe: Path
    out: Path
    steps: int | None = None
    device: str = "auto"
    resume: bool = False
    report: "Callable[[StepReport], None]" = lambda _: None
