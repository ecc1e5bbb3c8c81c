"""Ctrl-C and SIGTERM: every verb stops within seconds, its processes too, and leaves what can be gone on with.

The first signal raises KeyboardInterrupt in the main thread, so that whatever is open is closed in order. Where that
does not get through in `GRACE_S`, because the main thread waits inside a library for a stalled network or a long
computation, a watching thread notes the end and leaves; every file of ours is whole or resumable at any moment.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

GRACE_S = 3.5
STOPPED = "fewmask: stopped; what was written stays, --resume goes on"
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
_at_the_end: list[Callable[[], None]] = []
_received: list[int] = []
_taken_up = threading.Event()
_listening = _said = False


def listen() -> None:
    """Let signals stop this process as described above; for the command line, whose process is its own."""
    global _listening  # noqa: PLW0603 - once per process
    if _listening:
        return
    _listening = True
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
            signal.signal(number, _interrupt)
    # Told at once, even while the main thread is inside a library and cannot run `_interrupt`.
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, writing), daemon=True, name="fewmask-stopping").start()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_be_a_child)


def exit_code() -> int:
    """What to exit with after KeyboardInterrupt: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def say_stopped() -> None:
    """The promised line, once, whichever thread comes to it first."""
    global _said  # noqa: PLW0603 - once per process
    if not _said:
        _said = True
        with suppress(OSError, ValueError):
            sys.stderr.write(STOPPED + "\n")
            sys.stderr.flush()


def taken_up() -> None:
    """The signal was the end of a live source: the run goes on to write what came. The next signal stops it."""
    _received.clear()
    _taken_up.set()


@contextmanager
def at_the_end(act: Callable[[], None]) -> Iterator[None]:
    """While the block runs, ``act`` is what a process that must leave at once still does; it has a second for it."""
    _at_the_end.append(act)
    try:
        yield
    finally:
        _at_the_end.remove(act)


@contextmanager
def children_start() -> Iterator[None]:
    """Processes started inside the block never see Ctrl-C themselves: their parent ends them in order."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """For the beginning of a worker process: end when the parent does, however it did.

    A worker whose parent was killed must not go on writing: a resumed run may be at the same place.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_after_parent, daemon=True).start()


def end_workers(pool: "ProcessPoolExecutor") -> None:
    """End the pool now, whatever its workers are doing, and wait until they are gone."""
    workers = list((getattr(pool, "_processes", None) or {}).values())  # 3.14 has kill_workers; before there is no door
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


def _end_after_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    first = not _received
    _received.append(number)
    if first:
        raise KeyboardInterrupt


def _watch(reading: socket.socket, writing: socket.socket) -> None:
    """Wait for a signal; then give the main thread its time, and leave in its place."""
    number = 0
    while number not in _SIGNALS or _taken_up.wait(GRACE_S):
        _taken_up.clear()
        number = reading.recv(1)[0]
    done = threading.Thread(target=_last_acts, daemon=True)
    done.start()
    done.join(1)
    with suppress(OSError, ValueError):
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h")  # the cursor, which a progress bar hid
    say_stopped()
    writing.close()
    os._exit(128 + number)


def _last_acts() -> None:
    for act in reversed(_at_the_end):
        with suppress(Exception):  # the next one matters as much
            act()


def _be_a_child() -> None:
    """A forked process, such as a data worker of torch, is ended by its parent and tells it nothing."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _at_the_end.clear()
