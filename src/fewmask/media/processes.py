"""One pool of processes for every verb: jobs in, outcomes out in the order of the jobs, however many workers there are.

What a job does is up to its worker, made once in each process: ``make_work() -> work``, then ``work(job)``. Jobs write
whatever must last to disk themselves; so a run that was stopped asks again for the jobs whose files are not there.
`fewmask.media.ray_processes` spreads the same jobs over the machines of a Ray cluster.
"""

import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from fewmask.errors import FewmaskError
from fewmask.media.stopping import children_start, end_with_parent, end_workers

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
MakeWork: TypeAlias = Callable[[], Callable[[Job], Outcome]]
"""Makes a worker where it works; for other processes it must be picklable: a function of a module, or a partial."""


class WorkerDiedError(FewmaskError):
    """A worker process was killed; what it was doing is not done."""


AHEAD = 16  # jobs a worker may be ahead of the outcome that is waited for; more would only hold memory


def outcomes(
    jobs: Iterable[Job], make_work: MakeWork[Job, Outcome], *, workers: int, threads: int | None = None
) -> Generator[Outcome, None, None]:
    """Do the jobs by ``workers`` processes; with one, in this process.

    The processes end with the generator, at once: close it, or leave it by an error, and no worker goes on. They never
    see Ctrl-C, and end when this process does, however it did.

    Args:
        jobs: picklable where there are several workers.
        make_work: makes each worker's own.
        workers: processes, 1 or more.
        threads: of torch in each worker; the same number everywhere makes the same sums. None = as it is.

    Raises:
        WorkerDiedError: a worker was killed. What a job itself raises comes as it is.
    """
    if workers == 1:
        with _threads(threads):
            work = make_work()
            for job in jobs:
                yield work(job)
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(make_work, threads)
    )  # fresh processes: a fork would inherit locks of threads that torch or OpenCV may have started
    waiting: deque[Future[Outcome]] = deque()
    rest = iter(jobs)
    try:
        while True:
            with children_start():
                while len(waiting) < AHEAD * workers and (job := next(rest, _NONE)) is not _NONE:
                    waiting.append(pool.submit(_do, job))
            if not waiting:
                return
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerDiedError(
            "a worker died, of too little memory perhaps; what was done is kept: go on with --resume, or with fewer "
            "--workers"
        ) from error
    finally:
        end_workers(pool)


_NONE: Any = object()
_work: Callable[[Any], Any] | None = None


def _start(make_work: MakeWork[Any, Any], threads: int | None) -> None:
    global _work  # noqa: PLW0603 - a process pool hands its workers state in no other way
    end_with_parent()
    _set_threads(threads)
    _work = make_work()
    _set_threads(threads)


def _do(job: Any) -> Any:
    assert _work is not None
    return _work(job)


def _set_threads(threads: int | None) -> None:
    """Where torch is in use; a worker without it is spared the import."""
    if threads is not None and (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)


@contextmanager
def _threads(threads: int | None) -> Generator[None, None, None]:
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    _set_threads(threads)
    try:
        yield
    finally:
        _set_threads(before)
