"""The supports of a query video: its nearest clips in the pool, without itself and its near-copies (eq. 3)."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.addresses import showable
from fewmask.errors import ConfigError, VideoError
from fewmask.media.clip_place import ClipPlace
from fewmask.media.frames import Frame, open_frames
from fewmask.retrieval.clip_rows import Vectors
from fewmask.retrieval.clips import Clip, cut_clips
from fewmask.retrieval.fixed_features import ClipEmbedder
from fewmask.retrieval.looks import Looks, same_footage
from fewmask.retrieval.pool import Pool

_MOST_QUERY_CLIPS = 16


@dataclass(frozen=True)
class Neighbour:
    """A clip of the pool and its cosine to the query."""

    place: ClipPlace
    score: float


@dataclass(frozen=True, eq=False)
class Retrieval:
    """What supports a query.

    Attributes:
        query: the clips of the query video that searched, evenly spread over it; given supports searched besides.
        neighbours: best first; fewer than asked for where the pool has no more.
        copies: videos of the pool that were passed over as copies of the query or of a given support.
    """

    query: tuple[Clip, ...]
    neighbours: tuple[Neighbour, ...]
    copies: tuple[str, ...]


def retrieve(
    source: str | Path,
    pool: Pool,
    embedder: ClipEmbedder,
    k: int,
    *,
    per_video: int = 1,
    given: Sequence[str | Path] = (),
) -> Retrieval:
    """Find the clips of the pool that are most like a video, or like what is given to support it.

    Every clip of the video searches for itself, and so does every clip of the given supports ("use these to help find
    more", semi-shot); a neighbour's score is its best.

    Args:
        source: the query, anything ``open_frames`` takes that ends.
        pool: where to look.
        embedder: the one that made the pool.
        k: how many clips, ≥ 1.
        per_video: most clips from one video of the pool; more videos give more diverse supports.
        given: videos or pictures that support already; they and their copies are not found again.

    Raises:
        VideoError: the query or a given support cannot be read.
        ConfigError: the index was made with another embedder, or k < 1.
        FewmaskError: the pool is empty.
    """
    if k < 1 or per_video < 1:
        raise ConfigError(f"k is {k} and per_video is {per_video}; both must be at least 1")
    made_with = pool.index.about.get("embedder", embedder.name)
    if made_with != embedder.name:
        raise ConfigError(f"{pool.index.folder}: made with the embedder {made_with}, not {embedder.name}; use that one")
    clips = query_clips(source)
    searching = [*clips, *(clip for support in given for clip in query_clips(support))]
    neighbours, copies = nearest_clips(
        pool,
        embedder.embed(np.stack([clip.pictures for clip in searching])),
        [clip.looks for clip in searching],
        k,
        own=_names([source, *given]),
        per_video=per_video,
    )
    return Retrieval(tuple(clips), tuple(neighbours), tuple(copies))


def query_clips(source: str | Path) -> list[Clip]:
    """Clips of the query, at most 16, evenly spread; of a video that breaks, those before.

    Raises:
        VideoError: the query cannot be read, or never ends.
    """
    with open_frames(source, skip_broken=True) as frames:
        if frames.is_live:
            raise VideoError(f"{showable(str(source))}: a live source has no end; record some of it and give the file")
        clips: list[Clip] = []
        every = 1
        for number, clip in enumerate(cut_clips(_until_it_breaks(frames), frames.fps)):
            if number % every == 0:
                clips.append(clip)
            if len(clips) == 2 * _MOST_QUERY_CLIPS:  # so that memory does not grow with the video
                clips, every = clips[::2], 2 * every
    if not clips:
        raise VideoError(f"{showable(str(source))}: holds no frames; give a video")
    chosen = np.linspace(0, len(clips) - 1, min(len(clips), _MOST_QUERY_CLIPS)).round().astype(int)
    return [clips[place] for place in chosen]


def _until_it_breaks(frames: Iterable[Frame]) -> Iterator[Frame]:
    with suppress(VideoError):
        yield from frames


def random_clips(
    pool: Pool, k: int, *, source: str | Path, besides: Collection[str | Path] = (), seed: int = 0
) -> list[ClipPlace]:
    """k clips of the pool drawn at random, each of another video and none of the query's: what Table 1 begins with."""
    own = _names([source, *besides])
    by_video: dict[str, list[ClipPlace]] = {}
    for clip_id in pool.index.ids:
        place = ClipPlace.of(clip_id)
        if place.video not in own:
            by_video.setdefault(place.video, []).append(place)
    chance = np.random.default_rng(seed)
    videos = chance.permutation(sorted(by_video))[:k]
    return [by_video[video][int(chance.integers(len(by_video[video])))] for video in videos.tolist()]


def _names(sources: Iterable[str | Path]) -> set[str]:
    """The names under which a pool would hold these; what is no file or folder has none."""
    return {os.path.realpath(source) for source in sources if Path(source).exists()}


def nearest_clips(
    pool: Pool, vectors: Vectors, looks: Sequence[Looks], k: int, *, own: Set[str], per_video: int = 1
) -> tuple[list[Neighbour], list[str]]:
    """The k best clips over all query vectors, and the videos left out as copies of the query.

    A video of which any clip shares footage with one of the query's is taken for the query under another name.

    Args:
        pool: where to look.
        vectors: of the query's clips, [Q, D].
        looks: of all frames of each of the query's clips, Q of them.
        k: how many.
        own: names in the pool of the query and of what supports it already, left out.
        per_video: most clips from one video.
    """
    wanted = 4 * k
    while True:
        ids, scores = pool.index.search(vectors, wanted)
        best = _best_per_clip(ids.ravel().tolist(), scores.ravel().tolist())
        others = pool.looks([place for place, _ in best if place.video not in own])
        copies = {place.video for place, kept in others.items() if _is_copy(kept, looks)}
        kept = _thinned([pair for pair in best if pair[0].video not in copies | own], per_video)
        if len(kept) >= k or wanted >= len(pool.index):
            return [Neighbour(place, score) for place, score in kept[:k]], sorted(copies)
        wanted *= 4


def _is_copy(kept: Looks | None, of: Sequence[Looks]) -> bool:
    return kept is not None and any(same_footage(looks, kept) for looks in of)


def _best_per_clip(ids: Sequence[object], scores: Sequence[float]) -> list[tuple[ClipPlace, float]]:
    """Each clip once with its best score, best first."""
    best: dict[object, float] = {}
    for clip_id, score in zip(ids, scores, strict=True):
        best[clip_id] = max(score, best.get(clip_id, -2.0))
    return [(ClipPlace.of(clip_id), score) for clip_id, score in sorted(best.items(), key=lambda item: -item[1])]


def _thinned(pairs: Sequence[tuple[ClipPlace, float]], per_video: int) -> list[tuple[ClipPlace, float]]:
    seen: dict[str, int] = {}
    kept = []
    for place, score in pairs:
        seen[place.video] = seen.get(place.video, 0) + 1
        if seen[place.video] <= per_video:
            kept.append((place, score))
    return kept
