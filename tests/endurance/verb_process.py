"""Verbs as processes that can be killed: the whole command line, with its children, in a process group of its own.

The processes are forked from a server that has imported torch already, so that a kill costs the work and not the
start of Python.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONTEXT: Any = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["fewmask.cli.main", "fewmask.pipelines.segment_every", "fewmask.pipelines.mine", "fewmask.pipelines.grow.run"]
)


@dataclass(frozen=True)
class Ended:
    """How a verb ended: its exit code (negative: killed by that signal), what it said, and after how many seconds."""

    code: int
    said: str
    seconds: float


class VerbProcess:
    """``fewmask ARGUMENTS`` as a process.

    Args:
        arguments: of the command line.
        log: a file for what it says.
        die_at_rename: kill the process, children included, before (or with ``after``, right after) its rename of that
            number from 0; every file that appears, appears by one.
        count: a file that grows by one byte with every rename.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        *,
        die_at_rename: int | None = None,
        after: bool = False,
        count: Path | None = None,
    ) -> None:
        self._log = log
        self._started = time.monotonic()
        settings = (list(arguments), str(log), die_at_rename, after, count)
        self._process = _CONTEXT.Process(target=_run, args=settings, daemon=False)
        self._process.start()

    def tell(self, number: int) -> None:
        """Send a signal to the verb alone, or SIGKILL and SIGINT to its whole group, as a terminal does."""
        target = -self._process.pid if number in (signal.SIGKILL, signal.SIGINT) else self._process.pid
        try:
            os.kill(target, number)
        except ProcessLookupError:  # it has ended, or has no group of its own yet
            if target < 0 and self._process.is_alive():
                os.kill(-target, number)

    def wait(self, seconds: float) -> Ended | None:
        """Wait so long for its end; None while it runs."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            return None
        said = self._log.read_text(errors="replace") if self._log.exists() else ""
        return Ended(self._process.exitcode, said, time.monotonic() - self._started)

    def end(self, limit_s: float = 900) -> Ended:
        """Wait for its end; a verb that takes longer than ``limit_s`` is killed and is a failure."""
        ended = self.wait(limit_s)
        if ended is None:
            self.tell(signal.SIGKILL)
            self._process.join()
            raise AssertionError(f"still running after {limit_s} s: {self._log.read_text(errors='replace')[-2000:]}")
        return ended


def run_verb(arguments: Sequence[str], log: Path, limit_s: float = 900) -> Ended:
    """Run a verb to its end."""
    return VerbProcess(arguments, log).end(limit_s)


def _run(arguments: list[str], log: str, die_at_rename: int | None, after: bool, count: Path | None) -> None:
    os.setpgid(0, 0)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = ["fewmask", *arguments]
    if die_at_rename is not None or count is not None:
        _watch_renames(die_at_rename, after, count)
    import torch

    torch.set_num_threads(1)
    from fewmask.pipelines import runner
    from fewmask.pipelines.grow import teach

    runner.STATE_EVERY = 8  # more places to go on from in a short clip
    for training in (teach.DENSE["train"], teach.MASK2FORMER["train"], teach.BACKGROUND):
        training["checkpoint_every"] = 2  # and in a short training
    from fewmask.cli import start

    start.main()


def _watch_renames(deadly: int | None, after: bool, count: Path | None) -> None:
    """Patch the one system call by which files appear, in this process; workers of a pool make their own."""
    seen = 0

    def replacement(real: Any) -> Any:
        def rename(*arguments: Any, **named: Any) -> None:
            nonlocal seen
            mine, seen = seen, seen + 1
            if mine == deadly and not after:
                os.killpg(0, signal.SIGKILL)
            real(*arguments, **named)
            if mine == deadly:
                os.killpg(0, signal.SIGKILL)
            if count is not None:
                with count.open("ab") as tally:
                    tally.write(b".")

        return rename

    os.replace = replacement(os.replace)  # what pathlib calls
    os.rename = replacement(os.rename)
