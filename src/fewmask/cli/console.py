"""What every verb prints: results to standard output, progress to standard error, plain lines where nobody watches."""

import json
import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from fewmask.addresses import showable_text

_PLAIN_EVERY_S = float(os.environ.get("FEWMASK_PROGRESS_S", "10"))  # the studio watches more closely


def say(text: str) -> None:
    """One line to standard output."""
    sys.stdout.write(showable_text(text) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line to standard error: for people, not part of the result."""
    sys.stderr.write(showable_text(text) + "\n")
    sys.stderr.flush()


def at_once(text: str) -> None:
    """What is going on before anything can be counted; on a terminal alone."""
    if sys.stderr.isatty():
        note(f"{text} ...")


def say_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line to standard output, for machines."""
    say(json.dumps(value, default=str))


def counted(number: int, thing: str) -> str:
    """So many of a thing: 1 frame, 2 frames."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


class Progress:
    """Progress with the time left: a bar on a terminal, a line every ten seconds elsewhere.

    Call it with (done, total); total may be None.

    Args:
        what: is counted, in the plural.
        quiet: say nothing.
        first: what is done before the first is counted; shown at once on a terminal.
    """

    def __init__(self, what: str, *, quiet: bool = False, first: str | None = None) -> None:
        self._what, self._quiet, self._before = what, quiet, first
        self._bar: Any = None
        self._started = self._last = time.monotonic()
        self._first: int | None = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"),
                TimeRemainingColumn(), console=Console(stderr=True),
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(self._before or self._what, total=None, pace="")
        return self

    def __call__(self, done: int, total: int | None) -> None:
        """``done`` of ``total`` are finished."""
        if self._quiet:
            return
        now = time.monotonic()
        if self._first is None:  # the pace counts what this run did, not what it found done
            self._first, self._started = done - 1, now
        pace = (done - self._first - 1) / (now - self._started) if now > self._started else 0.0
        rate = f"{pace:.1f}/s" if pace >= 1 else f"{60 * pace:.1f}/min" if pace > 0 else ""
        if self._bar is not None:
            self._bar.update(self._task, description=self._what, completed=done, total=total, pace=rate)
        elif now - self._last >= _PLAIN_EVERY_S or done == total:
            self._last = now
            left = f", {(total - done) / pace:.0f} s left" if total and done < total and pace > 0 else ""
            note(f"{self._what}: {done}{f'/{total}' if total else ''}{f' ({rate}{left})' if rate else ''}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
