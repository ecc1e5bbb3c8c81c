"""The runs that are looked at: opened in the background, since a long one must be indexed first."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from fewmask.corrections.corrected_run import CorrectedRun
from fewmask.errors import FewmaskError

_OPEN = 8  # runs kept open


@dataclass
class _Opening:
    """A run on its way: how far, and what came of it."""

    done: float = 0.0
    run: CorrectedRun | None = None
    error: FewmaskError | None = None
    ready: threading.Event = field(default_factory=threading.Event)


class Runs:
    """Opens each run once; the longest unused ones are let go."""

    def __init__(self, cache: Path | None = None) -> None:
        """``cache`` is where indexes lie; default: the user's cache folder."""
        self._cache = cache
        self._runs: OrderedDict[Path, _Opening] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, path: Path, patience_s: float = 1.0) -> CorrectedRun | float:
        """The run, or how much of it is indexed so far, in [0, 1).

        Raises:
            FewmaskError: it cannot be opened.
        """
        with self._lock:
            opening = self._runs.get(path)
            if opening is None:
                opening = self._runs[path] = _Opening()
                threading.Thread(target=self._open, args=(path, opening), daemon=True).start()
            self._runs.move_to_end(path)
            while len(self._runs) > _OPEN:
                self._runs.popitem(last=False)
        opening.ready.wait(patience_s)
        if opening.error is not None:
            with self._lock:
                self._runs.pop(path, None)  # the next visit tries again
            raise opening.error
        return opening.run if opening.run is not None else min(opening.done, 0.999)

    def get(self, path: Path) -> CorrectedRun:
        """The run, whatever time it takes, with what other processes corrected meanwhile."""
        while isinstance(run := self.start(path, 60.0), float):
            pass
        run.refresh()
        return run

    def forget(self, path: Path) -> None:
        """Open it anew at the next visit: its files have changed."""
        with self._lock:
            self._runs.pop(path, None)

    def _open(self, path: Path, opening: _Opening) -> None:
        def progress(done: int, total: int) -> None:
            opening.done = done / max(total, 1)

        try:
            opening.run = CorrectedRun.open(path, cache=self._cache, progress=progress)
        except FewmaskError as error:
            opening.error = error
        except Exception as error:
            opening.error = FewmaskError(f"{path}: cannot be opened ({type(error).__name__}: {error})")
        finally:
            opening.ready.set()
