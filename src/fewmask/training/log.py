"""What a training run notes while it goes: ``log.csv``, and TensorBoard events for those who want to watch."""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewmask.errors import ConfigError

_COLUMNS = ("step", "learning_rate", "seconds_per_step", "losses", "figures")


class TrainingLog:
    """The log of one run, written by the first process.

    Args:
        folder: of the run; gets ``log.csv`` and ``tensorboard/``.
        tensorboard: write events too.

    Raises:
        ConfigError: ``tensorboard`` and the package is not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool) -> None:
        self._path = folder / "log.csv"
        self._events_folder = folder / "tensorboard"
        self._writer_class = _summary_writer() if tensorboard else None
        self._events: Any = None

    def start(self, step: int) -> None:
        """Begin at ``step``; what a killed run noted beyond it is dropped, because it is done again."""
        if self._path.exists():
            text = self._path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
            # Of a line that a full disk cut short, or that was damaged, nothing is kept.
            rows = csv.DictReader(io.StringIO(text, newline=""), strict=False)
            kept = [{name: row[name] for name in _COLUMNS} for row in rows if _step(row) <= step]
            with self._path.open("w", newline="") as handle:
                writer = csv.DictWriter(handle, _COLUMNS)
                writer.writeheader()
                writer.writerows(kept)
        if self._writer_class is not None:
            self._events = self._writer_class(str(self._events_folder), purge_step=step + 1 if step else None)

    def add(
        self,
        step: int,
        losses: Mapping[str, float],
        figures: Mapping[str, float],
        *,
        rate: float,
        seconds_per_step: float,
    ) -> None:
        """One line: mean losses since the last, or figures on held-out data."""
        new = not self._path.exists()
        with self._path.open("a", newline="") as handle:
            writer = csv.writer(handle)
            if new:
                writer.writerow(_COLUMNS)
            rounded = {name: round(value, 5) for name, value in losses.items()}
            writer.writerow(
                [step, f"{rate:.3g}", f"{seconds_per_step:.3f}", json.dumps(rounded), json.dumps(dict(figures))]
            )
        if losses:
            self._event(step, {f"loss/{name}": value for name, value in losses.items()} | {"learning_rate": rate})
        self._event(step, {f"validation/{name}": value for name, value in figures.items()})

    def close(self, step: int, figures: Mapping[str, float]) -> None:
        """Note the last figures as events and end the file; the table's last figures are in figures.json."""
        self._event(step, {f"validation/{name}": value for name, value in figures.items()})
        if self._events is not None:
            self._events.close()
            self._events = None

    def _event(self, step: int, values: Mapping[str, float]) -> None:
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)


def _step(row: Mapping[str, Any]) -> float:
    """The step of a line that is whole; infinite for others."""
    text = str(row.get("step"))
    return int(text) if text.isdecimal() and len(text) < 15 and all(row.get(name) for name in _COLUMNS) else math.inf


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "train.tensorboard = true needs the package tensorboard; pip install 'fewmask[tensorboard]'"
        ) from error
    return SummaryWriter
