"""One round of the loop, as the run and its report speak of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewmask.pipelines.grow.stages import Stage


@dataclass(frozen=True)
class Round:
    """What one round did.

    Attributes:
        number: from 1.
        stages: by name, those that were done: supports, retrieve, find, keep, teach, background, measure.
        agreement: of the taught segmenter with the witnesses on held-out videos, in [0, 1]; None where none was taught.
    """

    number: int
    stages: dict[str, Stage]
    agreement: float | None


def rose(rounds: Sequence[Round]) -> bool:
    """Whether agreement on held-out videos rose in the last round; the first has nothing to compare with."""
    return len(rounds) < 2 or (rounds[-1].agreement or 0) > (rounds[-2].agreement or 0)
