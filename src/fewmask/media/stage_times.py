"""Where a run's time goes: parts of the code say which stage they are, and a profile adds up the seconds of each.

Outside a profile a stage costs one look at a variable. Stages inside others count for themselves alone, so the seconds
of one thread add up to its time; stages of different threads run side by side, so together they may exceed the whole.
"""

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

Item = TypeVar("Item")


@dataclass
class Stage:
    """What one stage took.

    Attributes:
        seconds: wall-clock time inside it, without that of the stages inside.
        calls: how often it was entered.
    """

    seconds: float = 0.0
    calls: int = 0


@dataclass
class Profile:
    """Seconds by stage, in the order in which they first ended.

    Attributes:
        stages: by name.
        total_s: wall-clock time of the whole, once it has ended.
        first_frame_s: from the start to the first result, None before it.
    """

    stages: dict[str, Stage] = field(default_factory=dict)
    total_s: float = 0.0
    first_frame_s: float | None = None
    _start: float = field(default_factory=lambda: time.perf_counter())  # noqa: PLW0108 - asked when it starts
    _lock: Any = field(default_factory=threading.Lock)
    _open: threading.local = field(default_factory=threading.local)

    @contextmanager
    def stage(self, name: str) -> Generator[None, None, None]:
        """The block counts as ``name``."""
        inside: list[float] = self._open.__dict__.setdefault("inside", [])
        inside.append(0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - start
            own = took - inside.pop()
            if inside:
                inside[-1] += took
            with self._lock:
                entry = self.stages.setdefault(name, Stage())
                entry.seconds += own
                entry.calls += 1

    def first_frame(self) -> None:
        """The first result is there; later calls change nothing."""
        if self.first_frame_s is None:
            self.first_frame_s = time.perf_counter() - self._start

    def end(self) -> None:
        """The whole has ended."""
        self.total_s = time.perf_counter() - self._start

    def as_json(self) -> dict[str, Any]:
        """Plain values: seconds, and each stage's share of the whole in [0, 1]."""
        whole = self.total_s or 1.0
        return {
            "total_s": round(self.total_s, 4),
            "first_frame_s": None if self.first_frame_s is None else round(self.first_frame_s, 4),
            "stages": {
                name: {"seconds": round(of.seconds, 4), "share": round(of.seconds / whole, 4), "calls": of.calls}
                for name, of in self.stages.items()
            },
        }


_active: Profile | None = None


@contextmanager
def profiled() -> Generator[Profile, None, None]:
    """All stages of this process, in whichever thread, are added up until the block ends; profiles do not nest."""
    global _active  # noqa: PLW0603 - threads of a pipeline share it, which a context variable would not give them
    before, _active = _active, Profile()
    try:
        yield _active
    finally:
        _active.end()
        _active = before


@contextmanager
def _nothing() -> Generator[None, None, None]:
    yield


def stage(name: str) -> Any:
    """A block of code as a stage of the running profile, if there is one."""
    return _nothing() if _active is None else _active.stage(name)


def timed(name: str, items: Iterable[Item]) -> Iterator[Item]:
    """The items; the time until each is there counts as ``name``."""
    iterator = iter(items)
    while True:
        with stage(name):
            item: Any = next(iterator, _END)
        if item is _END:
            return
        yield item


_END: Any = object()


def first_frame() -> None:
    """Tell the running profile that there is a result."""
    if _active is not None:
        _active.first_frame()
