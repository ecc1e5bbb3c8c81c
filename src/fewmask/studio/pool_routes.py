"""Pools for the page: the map, nearest clips as moving thumbnails, and supports chosen by a click."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from fewmask.errors import ConfigError
from fewmask.media.clip_place import ClipPlace
from fewmask.studio.clip_pictures import cut
from fewmask.studio.commands import Command, new_folder
from fewmask.studio.context import Context
from fewmask.studio.job_routes import described, queue

if TYPE_CHECKING:
    from fewmask.studio.pool_clips import PoolClips

_NEAREST = 24


class Query(BaseModel):
    """A clip of the pool, or a moment of an opened video."""

    model_config = ConfigDict(extra="forbid")
    clip: str | None = None
    media: str | None = None
    frame: Annotated[int, Field(ge=0)] = 0
    k: Annotated[int, Field(ge=1, le=100)] = _NEAREST


class Supported(BaseModel):
    """A video to segment, and the clips of the pool that show the same."""

    model_config = ConfigDict(extra="forbid")
    video: str
    clips: Annotated[list[str], Field(min_length=1, max_length=20)]


def pool_routes(context: Context) -> APIRouter:
    """The routes below ``/api/pools``."""
    routes = APIRouter(prefix="/api/pools")
    opened: dict[str, PoolClips] = {}
    lock = threading.Lock()

    def pool(thing: str) -> "PoolClips":
        from fewmask.studio.pool_clips import PoolClips  # torch takes its time; not before a pool is looked at

        folder = context.library.get(thing, "pool").path
        with lock:
            return opened.setdefault(thing, PoolClips(folder))

    def shown(place: ClipPlace) -> dict[str, Any]:
        """A clip; its video is opened by its being in an opened pool, if it is still there."""
        there = Path(place.video).exists()
        media = context.library.add("video", Path(place.video)).id if there else None
        return {
            "id": place.id,
            "title": Path(place.video).name,
            "first": place.first,
            "last": place.last,
            "media": media,
        }

    @routes.get("/{thing}")
    def facts(thing: str) -> dict[str, Any]:
        """The clips with their places on the map; videos are told once, clips name them by number."""
        clips = pool(thing)
        videos: dict[str, int] = {}
        points = [
            [videos.setdefault(place.video, len(videos)), place.first, place.last, round(x, 4), round(y, 4)]
            for place, x, y in clips.on_map()
        ]
        named = [{**shown(ClipPlace(video, 0, 0)), "id": video} for video in videos]
        return {
            "id": thing,
            "title": context.library.get(thing, "pool").title,
            "length": clips.length(),
            "videos": named,
            "clips": points,
        }

    @routes.post("/{thing}/nearest")
    def nearest(thing: str, query: Annotated[Query, Body()]) -> dict[str, Any]:
        if query.clip is not None:
            found = pool(thing).like_clip(query.clip, query.k)
        elif query.media is not None:
            reader = context.frames.reader(context.library.get(query.media, "video").path)
            found = pool(thing).like_moment(reader, query.frame, query.k)
        else:
            raise ConfigError("nothing to look for; choose a clip, or a moment of a video")
        return {"clips": [{**shown(one.place), "score": round(one.score, 4)} for one in found]}

    @routes.post("/{thing}/segment")
    def segment(thing: str, wish: Annotated[Supported, Body()]) -> dict[str, Any]:
        """A job that looks in a video for what the chosen clips show (Self-Shot)."""
        video = context.library.get(wish.video, "video")
        known = set(pool(thing).videos())
        places = [ClipPlace.of(clip) for clip in dict.fromkeys(wish.clips)]
        out = new_folder(context, "shared", video.path.stem)
        words = ["segment", str(video.path)]
        for number, place in enumerate(places, 1):
            if place.video not in known:
                raise ConfigError(f"{place.title}: is not in this pool")
            path = context.out / "supports" / out.name / f"{number:02d}_{Path(place.video).stem}.mp4"
            words += ["--support-video", str(cut(context.frames.reader(Path(place.video)), place, path))]
        words += ["--out", str(out)]
        title = f"What {video.title} shares with {len(places)} clips"
        return described(context, queue(context, Command(title, tuple(words), ("run", out), resumable=True)))

    return routes
