"""One video on its way into a pool: its clips, their looks and vectors. Needs no pool, so any worker can do it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewmask.errors import VideoError
from fewmask.media.frames import open_frames
from fewmask.retrieval.clip_rows import Vectors
from fewmask.retrieval.clips import Clip, cut_clips
from fewmask.retrieval.fixed_features import ClipEmbedder
from fewmask.retrieval.looks import Looks

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

    path: Path
    frames: npt.NDArray[np.int64]
    looks: tuple[Looks, ...]
    vectors: Vectors
    problem: str | None = None


def embed_video(path: Path, embedder: ClipEmbedder, seconds: float) -> EmbeddedVideo:
    """Cut and embed a video; of a damaged one what comes before the damage.

    Args:
        path: a file or a folder of frames.
        embedder: makes the vectors.
        seconds: longest clip.
    """
    frames = [np.empty((0, 2), np.int64)]
    looks: list[Looks] = []
    vectors: list[Vectors] = [np.empty((0, embedder.dimension), np.float32)]
    problem = None
    try:
        for batch in _batches(_clips_of(path, seconds), _BATCH):
            vectors.append(embedder.embed(np.stack([clip.pictures for clip in batch])))
            frames.append(np.array([(clip.first, clip.last) for clip in batch], np.int64))
            looks += [clip.looks for clip in batch]
    except VideoError as error:
        problem = str(error)
    return EmbeddedVideo(path, np.concatenate(frames), tuple(looks), np.concatenate(vectors), problem)


def embed_here(videos: Sequence[Path], make_embedder: MakeEmbedder, seconds: float) -> Iterator[EmbeddedVideo]:
    """The videos one after another, in this process."""
    embedder = make_embedder() if videos else None
    for path in videos:
        assert embedder is not None
        yield embed_video(path, embedder, seconds)


def _clips_of(path: Path, seconds: float) -> Iterator[Clip]:
    with open_frames(path, skip_broken=True) as source:
        yield from cut_clips(source, source.fps, seconds=seconds)


def _batches(items: Iterable[Clip], size: int) -> Iterator[list[Clip]]:
    """Groups of ``size``; what came before an error is given before it is raised."""
    batch: list[Clip] = []
    failure: VideoError | None = None
    iterator = iter(items)
    while failure is None:
        try:
            batch.append(next(iterator))
        except StopIteration:
            break
        except VideoError as error:
            failure = error
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
    if failure is not None:
        raise failure
