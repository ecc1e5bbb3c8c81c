"""The jobs of `fewmask.media.processes` over Ray Data: the same outcomes, on as many machines as a Ray cluster has.

Every machine must see the files that jobs name under the same paths. A worker that dies is replaced, and its job done
again.
"""

import os
from collections.abc import Generator, Iterable
from typing import Any

from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.processes import Job, MakeWork, Outcome

LOCAL = "local"
_STORE_BYTES = 200 * 2**20  # jobs and outcomes alone pass through the object store
_MOST_BLOCKS = 4096


def outcomes_on_ray(
    jobs: Iterable[Job],
    make_work: MakeWork[Job, Outcome],
    *,
    workers: int,
    address: str = LOCAL,
    gpus: float = 0,
    threads: int | None = None,
) -> Generator[Outcome, None, None]:
    """Do the jobs by up to ``workers`` actors; outcomes in the order of the jobs.

    Args:
        jobs: picklable, with absolute paths.
        make_work: makes each worker's own; picklable.
        workers: actors at most, over all machines.
        address: of a running cluster ("auto" = the one of this machine), or "local" for one that ends with the run.
        gpus: that each actor asks Ray for; without any it sees none.
        threads: of torch in each worker.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at ``address``.
        FewmaskError: the cluster failed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("Ray is not installed: pip install 'fewmask[scale]', or use --workers alone") from error
    rows = [{"job": ray.cloudpickle.dumps(job)} for job in jobs]
    if not rows:
        return
    own = not ray.is_initialized()
    if own:
        _connect(ray, workers, address)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        # One block a job, one job at a time a worker: whoever is free takes the next.
        blocks = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS))
        actors = ray.data.ActorPoolStrategy(
            min_size=1, max_size=min(workers, len(rows)), max_tasks_in_flight_per_actor=1
        )
        done = blocks.map(
            _Worker, compute=actors, fn_constructor_args=(make_work, threads), num_cpus=1, num_gpus=gpus or None
        )
        for row in done.iter_rows():
            yield ray.cloudpickle.loads(row["outcome"])
    except ray.exceptions.RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise FewmaskError(f"the work on Ray stopped ({reason}); what was done is kept, run it again") from error
    finally:
        if own:
            ray.shutdown()


class _Worker:
    """An actor: rows of jobs in, rows of outcomes out. Pickled, for tables take no objects of ours."""

    def __init__(self, make_work: MakeWork[Any, Any], threads: int | None) -> None:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        self._work = make_work()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import ray

        return {"outcome": ray.cloudpickle.dumps(self._work(ray.cloudpickle.loads(row["job"])))}


def _connect(ray: Any, workers: int, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == LOCAL:
            ray.init(
                address=LOCAL, num_cpus=workers, include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"ray {address}: no cluster there ({reason}); start one, or use --ray local") from error
