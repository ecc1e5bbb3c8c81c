"""A pool to look around in: its clips, a map of them, and the nearest ones of any moment."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.errors import ConfigError
from fewmask.media.clip_place import ClipPlace
from fewmask.media.frame_source import Frame
from fewmask.retrieval.clips import cut_clips
from fewmask.retrieval.embedders import embedder_of
from fewmask.retrieval.pool import Pool
from fewmask.studio.frame_reader import FrameReader

MOST_ON_MAP = 5000
_SECONDS = 2.0  # around a moment


@dataclass(frozen=True)
class FoundClip:
    """A clip of the pool and its cosine to what was asked for."""

    place: ClipPlace
    score: float


class PoolClips:
    """One pool, read anew whenever its files change; threads may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._stamp: object = None
        self._pool: Pool | None = None
        self._embedder: Any = None
        self._map: list[tuple[ClipPlace, float, float]] | None = None

    def videos(self) -> list[str]:
        """The videos that have clips here."""
        return list(dict.fromkeys(ClipPlace.of(clip_id).video for clip_id in self._opened().index.ids))

    def length(self) -> int:
        """Number of clips."""
        return len(self._opened().index)

    def on_map(self) -> list[tuple[ClipPlace, float, float]]:
        """Clips with their place on a map, in [0, 1]: the two directions in which the pool differs most.

        Of larger pools, `MOST_ON_MAP` clips drawn with a fixed seed.
        """
        with self._lock:
            pool = self._opened()
            if self._map is None:
                ids = pool.index.ids
                if len(ids) > MOST_ON_MAP:
                    chosen = np.random.default_rng(0).choice(len(ids), MOST_ON_MAP, replace=False)
                    ids = [ids[place] for place in sorted(chosen.tolist())]
                flat = projected(np.asarray(pool.index.vectors(ids), np.float64)) if ids else np.zeros((0, 2))
                places = [ClipPlace.of(clip_id) for clip_id in ids]
                self._map = [(place, *point) for place, point in zip(places, flat.tolist(), strict=True)]
            return self._map

    def like_clip(self, clip_id: str, k: int) -> list[FoundClip]:
        """The k clips nearest to one of the pool, which comes first itself.

        Raises:
            ConfigError: there is no such clip.
        """
        pool = self._opened()
        if clip_id not in pool.index:
            raise ConfigError(f"{clip_id[:80]!r} is no clip of this pool; reload the page")
        return self._nearest(pool, np.asarray(pool.index.vectors([clip_id])), k)

    def like_moment(self, reader: FrameReader, index: int, k: int) -> list[FoundClip]:
        """The k clips nearest to what a video shows around a frame; the first time the encoder is loaded.

        Raises:
            FewmaskError: the frames cannot be read, or the pool was made with an encoder that is not here.
        """
        pool = self._opened()
        around = round(_SECONDS * (reader.fps or 1.0) / 2)
        last = index + around if reader.length is None else min(index + around, reader.length - 1)
        frames = [
            Frame(number, number / (reader.fps or 1.0), reader.rgb(number))
            for number in range(max(0, index - around), last + 1)
        ]
        clips = list(cut_clips(frames, reader.fps))
        inside = [clip for clip in clips if clip.first <= index <= clip.last] or clips
        with self._lock:
            if self._embedder is None:
                self._embedder = embedder_of(pool)
            vectors = self._embedder.embed(np.stack([clip.pictures for clip in inside[:1]]))
        return self._nearest(pool, vectors, k)

    def _nearest(self, pool: Pool, vectors: Any, k: int) -> list[FoundClip]:
        ids, scores = pool.index.search(vectors, k)
        return [
            FoundClip(ClipPlace.of(clip_id), float(score))
            for clip_id, score in zip(ids[0].tolist(), scores[0].tolist(), strict=True)
        ]

    def _opened(self) -> Pool:
        stamp = sorted((entry.name, entry.stat().st_mtime_ns) for entry in self._folder.iterdir() if entry.is_file())
        with self._lock:
            if self._pool is None or stamp != self._stamp:
                self._pool, self._stamp, self._map = Pool.open(self._folder), stamp, None
            return self._pool


def projected(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Vectors [N, D] on their first two principal axes, float64 [N, 2], each axis scaled to [0, 1]."""
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred.T @ centred)
    flat = centred @ axes[: min(2, len(axes))].T
    if flat.shape[1] < 2:
        flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    low, high = flat.min(0), flat.max(0)
    return np.asarray((flat - low) / np.where(high > low, high - low, 1.0))
