"""The stage *retrieve*: the videos of the pool that may hold a kind, so that only those are searched.

Two opinions are asked in turn. Mined tracks that look like the kind say where it was seen; clips that look like the
examples' whole pictures say where it may be at home, though mining has not outlined it there.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.media.clip_place import ClipPlace
from fewmask.pipelines.grow.group_stage import GroupedTracks
from fewmask.pipelines.grow.groups import Vectors
from fewmask.pipelines.grow.kinds import Kind, Kinds
from fewmask.retrieval.clips import FRAMES, square
from fewmask.retrieval.fixed_features import ClipEmbedder
from fewmask.retrieval.pool import Pool

LEAST_CLIPS = 20
SHARE = 0.2
"""Of the pool's clips, searched for each kind, but at least `LEAST_CLIPS`."""


def retrieve_stage(
    kinds: Kinds, pool: Pool, embedder: ClipEmbedder, sources: Mapping[str, str], mined: GroupedTracks, clips: int
) -> dict[str, Any]:
    """Names of the videos to search, and per kind the clips with their likeness.

    Args:
        kinds: that are looked for.
        pool: of all videos.
        embedder: the one that made the pool.
        sources: the run's videos, name -> source.
        mined: tracks, and what they look like.
        clips: per kind; 0 = chosen here.
    """
    seen_in = [track.video for track in mined.tracks]
    wanted: set[str] = set()
    listed: dict[str, list[Any]] = {}
    for kind in kinds.kinds:
        places = clips_for(kind, pool, embedder, clips)
        alike = videos_alike(kind, seen_in, mined.vectors)
        wanted |= set(videos_for(places, sources, [example.origin for example in kind.examples], alike))
        listed[kind.name] = [[place.title, round(score, 4)] for place, score in places]
    return {"videos": [name for name in sources if name in wanted], "clips": listed}


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


def videos_alike(kind: Kind, videos: Sequence[str], vectors: Vectors) -> list[str]:
    """Videos with mined tracks, that with the track most like the kind first.

    Args:
        kind: with its vectors.
        videos: name of the video of every track.
        vectors: unit [N, D], what the tracks look like.
    """
    best: dict[str, float] = {}
    for name, alike in zip(videos, (vectors @ kind.vectors.T).max(1).tolist(), strict=True):
        best[name] = max(alike, best.get(name, -2.0))
    return sorted(best, key=lambda name: (-best[name], name))


def videos_for(
    places: Sequence[tuple[ClipPlace, float]],
    sources: Mapping[str, str],
    examples: Sequence[str],
    alike: Sequence[str] = (),
) -> list[str]:
    """Names of the run's videos to search, in the run's order: as many as the clips are of, and those of examples.

    Args:
        places: of `clips_for`.
        sources: the run's videos, name -> source.
        examples: origins of the examples: "video#track, frame 12" for those of the run.
        alike: of `videos_alike`; every other video is the next of these, as long as there are any.
    """
    names = {_resolved(source): name for name, source in sources.items()}
    of_clips = dict.fromkeys(names[place.video] for place, _ in places if place.video in names)
    turns = dict.fromkeys(name for name in chain(*zip_longest(alike, of_clips)) if name is not None)
    wanted = set(list(turns)[: len(of_clips)])
    own = {origin.partition("#")[0] for origin in examples if "#" in origin}
    return [name for name in sources if name in own or name in wanted]


def _resolved(source: str) -> str:
    return source if "://" in source else str(Path(source).expanduser().resolve())
