"""Embedding shared out over processes of this machine or the machines of a Ray cluster.

Workers embed; one process, the caller's, enters what they bring into the one index. So nothing has to be merged, a
killed run goes on where the index stands, and which of two near-copies stays does not depend on who was faster: results
come in the order of the videos.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from fewmask.media.processes import outcomes
from fewmask.media.ray_processes import LOCAL, outcomes_on_ray
from fewmask.retrieval.embedded_video import EmbeddedVideo, MakeEmbedder, embed_video
from fewmask.retrieval.pool_names import Video


def embed_in_processes(
    videos: Sequence[Video], make_embedder: MakeEmbedder, seconds: float, workers: int
) -> Iterator[EmbeddedVideo]:
    """The videos, in order, embedded by ``workers`` processes that share the cores.

    Raises:
        FewmaskError: a worker died, of too little memory for example.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    return outcomes(videos, partial(_worker, make_embedder, seconds), workers=workers, threads=threads)


def embed_on_ray(
    videos: Sequence[Video], make_embedder: MakeEmbedder, seconds: float, workers: int, *, gpus: float = 0
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
        ConfigError: Ray is not installed, or there is no such cluster.
        FewmaskError: the cluster failed.
    """
    address = os.environ.get("RAY_ADDRESS", LOCAL)
    make = partial(_worker, make_embedder, seconds)
    return outcomes_on_ray(videos, make, workers=workers, address=address, gpus=gpus)


def _worker(make_embedder: MakeEmbedder, seconds: float) -> Callable[[Video], EmbeddedVideo]:
    embedder = make_embedder()
    return lambda path: embed_video(path, embedder, seconds)
