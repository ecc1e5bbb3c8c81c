"""Videos for the page: the file itself by ranges where a browser plays it, and any frame as JPEG."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Path, Query
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from fewmask.errors import ConfigError, VideoError
from fewmask.studio.clip_pictures import moving_picture
from fewmask.studio.context import Context
from fewmask.studio.library import NotOpenedError

_A_YEAR = {"Cache-Control": "private, max-age=31536000, immutable"}
Index = Annotated[int, Path(ge=0)]
Width = Annotated[int, Query(ge=0, le=8192)]


class PromptPoint(BaseModel):
    """A click, in pixels of the frame; ``inside`` is False where the object is not."""

    model_config = ConfigDict(extra="forbid")
    x: float
    y: float
    inside: bool


class Prompt(BaseModel):
    """What SAM is asked: clicks, a box (left, top, right, bottom), or both."""

    model_config = ConfigDict(extra="forbid")
    frame: Annotated[int, Field(ge=0)]
    points: Annotated[list[PromptPoint], Field(max_length=64)]
    box: tuple[float, float, float, float] | None = None


def media_routes(context: Context) -> APIRouter:
    """The routes below ``/api/media``; a stamp in their addresses changes with the file, so browsers may keep them."""
    routes = APIRouter(prefix="/api/media")

    @routes.get("/{thing}")
    def facts(thing: str) -> dict[str, Any]:
        return media_facts(context, thing)

    @routes.get("/{thing}/times")
    def times(thing: str) -> Response:
        """Seconds of every frame, float64 little-endian; empty where unknown."""
        reader = context.frames.reader(context.library.get(thing, "video").path)
        data = b"" if reader.times is None else reader.times.astype("<f8").tobytes()
        return Response(data, media_type="application/octet-stream")

    @routes.get("/{thing}/frame/{index}.jpg")
    def frame(thing: str, index: Index, width: Width = 0) -> Response:
        picture = context.frames.jpeg(context.library.get(thing, "video").path, index, width)
        return Response(picture, media_type="image/jpeg", headers=_A_YEAR)

    @routes.get("/{thing}/clip.webp")
    def clip(
        thing: str, first: Annotated[int, Query(ge=0)], last: Annotated[int, Query(ge=0)], width: Width = 240
    ) -> Response:
        """A moving thumbnail of frames ``first`` to ``last``."""
        reader = context.frames.reader(context.library.get(thing, "video").path)
        return Response(moving_picture(reader, first, last, width), media_type="image/webp", headers=_A_YEAR)

    @routes.get("/{thing}/video")
    def video(thing: str) -> FileResponse:
        path = context.library.get(thing, "video").path
        media_type = context.frames.reader(path).media_type
        if media_type is None:
            raise NotOpenedError(f"{path.name}: browsers do not play it; its frames are shown one by one")
        return FileResponse(path, media_type=media_type, headers={"Cache-Control": "private, max-age=3600"})

    @routes.post("/{thing}/sam")
    def prompted(thing: str, prompt: Annotated[Prompt, Body()]) -> dict[str, Any]:
        """A mask by clicks or a box; the first time the network is loaded."""
        path = context.library.get(thing, "video").path
        if context.sam is None:
            raise ConfigError("no SAM weights; start the studio with --sam WEIGHTS")
        if not prompt.points and prompt.box is None:
            raise ConfigError("nothing was clicked; click the object or draw a box around it")
        rgb = context.frames.reader(path).rgb(prompt.frame)
        points = [(point.x, point.y, point.inside) for point in prompt.points]
        return {"counts": context.sam_prompt().ask(path, prompt.frame, rgb, points, prompt.box)["counts"]}

    return routes


def media_facts(context: Context, thing: str) -> dict[str, Any]:
    """What the page must know of a video before it shows it.

    Raises:
        VideoError: it cannot be opened.
    """
    video = context.library.get(thing, "video")
    reader = context.frames.reader(video.path)
    height, width = reader.size
    try:
        facts = video.path.stat()
    except OSError as error:
        raise VideoError(f"{video.title}: is gone; open the studio again") from error
    return {
        "id": thing,
        "title": video.title,
        "size": [height, width],
        "length": reader.length,
        "fps": reader.fps,
        "step": None if reader.times is None or len(reader.times) < 2 else reader.times[-1] / (len(reader.times) - 1),
        "steady": _is_steady(reader.times),
        "plays": reader.media_type is not None and reader.times is not None,
        "stamp": f"{facts.st_size:x}-{facts.st_mtime_ns:x}",
    }


def _is_steady(times: Any) -> bool:
    """Whether all frames last equally long, so that their times need not be sent."""
    if times is None or len(times) < 2:
        return times is not None
    step = times[-1] / (len(times) - 1)
    return bool(np.abs(times - step * np.arange(len(times))).max() < 0.25 * step)
