"""One stage of a pipeline in a thread of its own: decoding goes on while the network computes."""

import atexit
import queue
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


_PATIENCE_S = 0.2


class _End:
    """Marks the end of the items, with the error that caused it if there was one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetch(Generic[Item]):
    """Iterates ``items`` in a background thread, at most ``depth`` ahead of the reader.

    An error in the thread reaches the reader after the items before it. `close` stops the thread; it is also
    stopped when the reader's block ends, and before the interpreter goes down: a thread that decodes or computes at
    that moment would abort the process.
    """

    def __init__(self, items: Iterable[Item], depth: int) -> None:
        self._items = items
        self._queue: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        _running.add(self)

    def __iter__(self) -> Iterator[Item]:
        while True:
            try:
                item = self._queue.get(timeout=_PATIENCE_S)
            except queue.Empty:
                if self._stop.is_set():  # somebody else closed it, and took what was left
                    return
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        _running.discard(self)

    def __enter__(self) -> "Prefetch[Item]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as raised:
            error = raised
        self._put(_End(error))

    def _put(self, item: Item | _End) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


_running: "weakref.WeakSet[Prefetch[Any]]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for prefetch in list(_running):
        prefetch.close()
