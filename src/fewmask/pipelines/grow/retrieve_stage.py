"""The stage *retrieve*: the clips of the pool that may hold a kind, so that only their videos are searched."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewmask.media.clip_place import ClipPlace
from fewmask.pipelines.grow.kinds import Kind
from fewmask.retrieval.clips import FRAMES, square
from fewmask.retrieval.fixed_features import ClipEmbedder
from fewmask.retrieval.pool import Pool

LEAST_CLIPS = 20
SHARE = 0.2
"""Of the pool's clips, searched for each kind, but at least `LEAST_CLIPS`."""


def clips_for(kind: Kind, pool: Pool, embedder: ClipEmbedder, clips: int = 0) -> list[tuple[ClipPlace, float]]:
    """The clips most like the pictures of a kind's examples, best first, each with its best cosine.

    An example stands as a clip that does not move: its whole picture, since surroundings tell where a kind is at home.

    Args:
        kind: with at least one example.
        pool: where to look.
        embedder: the one that made the pool.
        clips: how many; 0 = `SHARE` of the pool, at least `LEAST_CLIPS`.
    """
    count = min(len(pool.index), clips or max(LEAST_CLIPS, round(SHARE * len(pool.index))))
    if not count:
        return []
    stills = np.stack([np.repeat(square(example.rgb)[None], FRAMES, axis=0) for example in kind.examples])
    ids, scores = pool.index.search(embedder.embed(stills), count)
    best: dict[str, float] = {}
    for clip_id, score in zip(ids.ravel().tolist(), scores.ravel().tolist(), strict=True):
        best[str(clip_id)] = max(float(score), best.get(str(clip_id), -2.0))
    ranked = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:count]
    return [(ClipPlace.of(clip_id), score) for clip_id, score in ranked]


def videos_for(
    places: Sequence[tuple[ClipPlace, float]], sources: dict[str, str], examples: Sequence[str]
) -> list[str]:
    """Names of the run's videos to search, in the run's order: those of the clips, and those that examples come from.

    Args:
        places: of `clips_for`.
        sources: the run's videos, name -> source.
        examples: origins of the examples: "video#track, frame 12" for those of the run.
    """
    wanted = {place.video for place, _ in places}
    own = {origin.partition("#")[0] for origin in examples if "#" in origin}
    return [name for name, source in sources.items() if name in own or _resolved(source) in wanted]


def _resolved(source: str) -> str:
    return source if "://" in source else str(Path(source).expanduser().resolve())
