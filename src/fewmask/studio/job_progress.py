"""How far a job is, read from the lines that every verb prints where no terminal watches."""

import re
from dataclasses import dataclass

_COUNTED = re.compile(
    r"^(?P<what>[a-z -]+): (?P<done>\d+)(?:/(?P<total>\d+))? \((?P<pace>[\d.]+)/s(?:, (?P<left>\d+) s left)?\)"
)
_STEP = re.compile(r"^(?:round \d+, )?step (?P<done>\d+)/(?P<total>\d+) .*?(?:(?P<minutes>\d+) min left)?$")
_VIDEO = re.compile(r"^(?P<done>\d+)/(?P<total>\d+) \S.*$")


@dataclass(frozen=True)
class JobProgress:
    """``done`` of ``total`` of ``what``, seconds left where known, and the last line that was printed."""

    what: str = ""
    done: int | None = None
    total: int | None = None
    left_s: float | None = None
    line: str = ""


def progress_of(log: str) -> JobProgress:
    """From the end of a log; the last line that counts something tells."""
    lines = [line.rstrip() for line in log.replace("\r", "\n").splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    for line in reversed(lines):
        if found := _COUNTED.match(line):
            left = found["left"]
            return JobProgress(
                found["what"], int(found["done"]), _number(found["total"]), None if left is None else float(left), last
            )
        if found := _STEP.match(line):
            minutes = found["minutes"]
            left_s = None if minutes is None else 60.0 * int(minutes)
            return JobProgress("steps", int(found["done"]), int(found["total"]), left_s, last)
        if found := _VIDEO.match(line):
            return JobProgress("videos", int(found["done"]), int(found["total"]), None, last)
    return JobProgress(line=last)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
