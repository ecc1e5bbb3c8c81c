"""Embedding shared out over processes of this machine or the machines of a Ray cluster.

Workers embed; one process, the caller's, enters what they bring into the one index. So nothing has to be merged, a
killed run goes on where the index stands, and which of two near-copies stays does not depend on who was faster: results
come in the order of the videos.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.stopping import children_start, end_with_parent, end_workers
from fewmask.retrieval.embedded_video import EmbeddedVideo, MakeEmbedder, embed_video
from fewmask.retrieval.fixed_features import ClipEmbedder

_AHEAD = 4  # videos a worker may be ahead of the one that is entered; more would only hold memory
_MOST_BLOCKS = 4096

_embedder: ClipEmbedder | None = None


def embed_in_processes(
    videos: Sequence[Path], make_embedder: MakeEmbedder, seconds: float, workers: int
) -> Iterator[EmbeddedVideo]:
    """The videos, in order, embedded by ``workers`` processes that share the cores.

    Raises:
        FewmaskError: a worker died, of too little memory for example.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(make_embedder, threads)
    )
    waiting: list[Future[EmbeddedVideo]] = []
    rest = iter(videos)
    try:
        while True:
            with children_start():
                while len(waiting) < _AHEAD * workers and (path := next(rest, None)) is not None:
                    waiting.append(pool.submit(_embed, path, seconds))
            if not waiting:
                return
            yield waiting.pop(0).result()
    except BrokenProcessPool as error:
        raise FewmaskError("a worker died; what was embedded is kept, run the command again") from error
    finally:
        end_workers(pool)


def embed_on_ray(
    videos: Sequence[Path], make_embedder: MakeEmbedder, seconds: float, workers: int, *, gpus: float = 0
) -> Iterator[EmbeddedVideo]:
    """The videos, in order, embedded by ``workers`` actors of Ray Data.

    The cluster is the one that RAY_ADDRESS names, or the machine itself. Its machines see the videos under the same
    paths.

    Args:
        videos: files or folders of frames.
        make_embedder: makes each actor's own.
        seconds: longest clip.
        workers: actors.
        gpus: that each actor asks Ray for; without any it sees none.

    Raises:
        ConfigError: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("Ray is not installed; `pip install fewmask[scale]`, or use --workers alone") from error
    if not videos:
        return
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        rows = ray.data.from_items(
            [{"path": str(path)} for path in videos], override_num_blocks=min(len(videos), _MOST_BLOCKS)
        )
        actors = ray.data.ActorPoolStrategy(size=min(workers, len(videos)))
        made_with = (make_embedder, seconds)
        embedded = rows.map(_RayActor, fn_constructor_args=made_with, compute=actors, num_gpus=gpus or None)
        for row in embedded.iter_rows():
            clips = int(row["clips"])
            yield EmbeddedVideo(
                Path(row["path"]),
                np.frombuffer(row["frames"], np.int64).reshape(clips, 2),
                _rows(row["looks"], np.uint8, clips),
                _rows(row["vectors"], np.float32, clips),
                row["problem"] or None,
            )
    finally:
        if ours:
            ray.shutdown()


def _rows(data: bytes, dtype: type[np.generic], count: int) -> Any:
    """``count`` rows of an array's bytes; a broken video has none, and their width is then unknown."""
    flat = np.frombuffer(data, dtype)
    return flat.reshape(count, -1) if count else flat.reshape(0, 0)


class _RayActor:
    def __init__(self, make_embedder: MakeEmbedder, seconds: float) -> None:
        self._embedder, self._seconds = make_embedder(), seconds

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        video = embed_video(Path(row["path"]), self._embedder, self._seconds)
        # Bytes, for tables do not take arrays of nothing.
        return {
            "path": row["path"],
            "clips": len(video.frames),
            "frames": video.frames.tobytes(),
            "looks": video.looks.tobytes(),
            "vectors": video.vectors.tobytes(),
            "problem": video.problem or "",
        }


def _start(make_embedder: MakeEmbedder, threads: int) -> None:
    global _embedder  # noqa: PLW0603 - one embedder per worker process, made once
    import torch

    end_with_parent()
    torch.set_num_threads(threads)
    _embedder = make_embedder()


def _embed(path: Path, seconds: float) -> EmbeddedVideo:
    assert _embedder is not None
    return embed_video(path, _embedder, seconds)
