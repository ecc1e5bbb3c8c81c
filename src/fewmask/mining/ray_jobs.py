"""Jobs over Ray Data: the same videos, the same bytes, on as many machines as a Ray cluster has.

Every machine must see the videos and the run's folder under the same paths. A worker that dies is replaced, and its
video goes on at the frame it was in, since all progress is on disk.
"""

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fewmask.errors import ConfigError, FewmaskError
from fewmask.mining.settings import MiningSettings
from fewmask.mining.video_job import Job, Tools
from fewmask.mining.workers import VideoOutcome, mine_one

LOCAL = "local"
_STORE_BYTES = 100 * 2**20  # outcomes alone pass through the object store


def outcomes_over_ray(
    jobs: Sequence[Job], tools_factory: Callable[[], Tools], settings: MiningSettings, workers: int, address: str
) -> Generator[VideoOutcome, None, None]:
    """Outcomes as the videos are done, in any order.

    Args:
        jobs: one per video.
        tools_factory: makes the estimators in each worker; picklable.
        settings: selection and output.
        workers: processes at most, over all machines.
        address: of a running cluster ("auto" = the one of this machine), or "local" for one that ends with the run.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at ``address``.
        FewmaskError: the cluster failed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("mining over Ray needs the extra scale: pip install 'fewmask[scale]'") from error
    own = not ray.is_initialized()
    if own:
        _connect(ray, workers, address)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        # One block a video, one video at a time a worker: whoever is free takes the next.
        rows = ray.data.from_items([_plain(job) for job in jobs], override_num_blocks=len(jobs))
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=workers, max_tasks_in_flight_per_actor=1)
        mined = rows.map(_MineVideo, compute=pool, fn_constructor_args=(tools_factory, settings), num_cpus=1)
        for row in mined.iter_rows():
            yield VideoOutcome(**row)
    except ray.exceptions.RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise FewmaskError(f"mining over Ray stopped ({reason}); go on with --resume") from error
    finally:
        if own:
            ray.shutdown()


class _MineVideo:
    """A worker: its own estimators on one thread, rows of jobs in, rows of outcomes out."""

    def __init__(self, tools_factory: Callable[[], Tools], settings: MiningSettings) -> None:
        torch.set_num_threads(1)
        self._tools, self._settings = tools_factory(), settings

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        job = Job(row["name"], row["source"], Path(row["out"]))
        return asdict(mine_one(job, self._tools, self._settings))


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


def _plain(job: Job) -> dict[str, str]:
    return {"name": job.name, "source": job.source, "out": str(job.out.resolve())}
