"""One video on its way into a pool: its clips, their looks and vectors. Needs no pool, so any worker can do it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from fewmask.errors import VideoError
from fewmask.media.batches import batches
from fewmask.media.frames import open_frames
from fewmask.retrieval.clip_rows import Vectors
from fewmask.retrieval.clips import Clip, cut_clips
from fewmask.retrieval.fixed_features import ClipEmbedder
from fewmask.retrieval.looks import Looks
from fewmask.retrieval.pool_names import Video

MakeEmbedder = Callable[[], ClipEmbedder]
"""Makes the embedder where it works; it travels to other processes, so it is a function of a module or a partial."""
_BATCH = 8


@dataclass(frozen=True, eq=False)
class EmbeddedVideo:
    """The C clips of a video.

    Attributes:
        path: the video, as it was given.
        frames: first and last frame of each clip, int64 [C, 2].
        looks: of all frames of each clip, C arrays uint8 [T, 144].
        vectors: unit vectors, float32 [C, D].
        problem: why the video, or its rest, was skipped; None if nothing was.
    """

    path: Video
    frames: npt.NDArray[np.int64]
    looks: tuple[Looks, ...]
    vectors: Vectors
    problem: str | None = None


def embed_video(
    path: Video, embedder: ClipEmbedder, seconds: float, *, first: int = 0, stop: int | None = None
) -> EmbeddedVideo:
    """Cut and embed a video, or a part of it; of a damaged one what comes before the damage.

    Args:
        path: a file or a folder of frames.
        embedder: makes the vectors.
        seconds: longest clip.
        first: frame to begin with, as the first of a shot.
        stop: frame behind the last; None = to the end.
    """
    frames = [np.empty((0, 2), np.int64)]
    looks: list[Looks] = []
    vectors: list[Vectors] = [np.empty((0, embedder.dimension), np.float32)]
    problem = None
    try:
        for batch in batches(_clips_of(path, seconds, first, stop), _BATCH):
            vectors.append(embedder.embed(np.stack([clip.pictures for clip in batch])))
            frames.append(np.array([(clip.first, clip.last) for clip in batch], np.int64))
            looks += [clip.looks for clip in batch]
    except VideoError as error:
        problem = str(error)
    return EmbeddedVideo(path, np.concatenate(frames), tuple(looks), np.concatenate(vectors), problem)


def embed_here(videos: Sequence[Video], make_embedder: MakeEmbedder, seconds: float) -> Iterator[EmbeddedVideo]:
    """The videos one after another, in this process."""
    embedder = make_embedder() if videos else None
    for path in videos:
        assert embedder is not None
        yield embed_video(path, embedder, seconds)


def joined(path: Video, parts: Sequence[EmbeddedVideo]) -> EmbeddedVideo:
    """The parts of a video, in their order, as one."""
    problems = [part.problem for part in parts if part.problem is not None]
    return EmbeddedVideo(
        path,
        np.concatenate([part.frames for part in parts]),
        tuple(looks for part in parts for looks in part.looks),
        np.concatenate([part.vectors for part in parts]),
        problems[0] if problems else None,
    )


def _clips_of(path: Video, seconds: float, first: int, stop: int | None) -> Iterator[Clip]:
    with open_frames(path, start=first, skip_broken=True) as source:
        frames = source if stop is None else takewhile(lambda frame: frame.index < stop, source)
        yield from cut_clips(frames, source.fps, seconds=seconds)
