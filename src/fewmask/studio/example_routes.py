"""Examples for the page: show an object, take it back, and look for more like it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from fewmask.corrections.edits import Counts, FrameIndex
from fewmask.corrections.state import checked_mask
from fewmask.errors import ConfigError
from fewmask.studio.commands import Command, new_folder
from fewmask.studio.context import Context
from fewmask.studio.examples import NEGATIVE, Example, Examples
from fewmask.studio.frame_reader import encoded
from fewmask.studio.job_routes import described, queue

Name = Annotated[str, Field(min_length=1, max_length=80)]


class Shown(BaseModel):
    """An object in a frame of an opened video; ``class_name`` is "not" for what must not be found."""

    model_config = ConfigDict(extra="forbid")
    set: Name
    class_name: Name
    media: str
    frame: FrameIndex
    counts: Counts


class Removed(BaseModel):
    """A picture of a set."""

    model_config = ConfigDict(extra="forbid")
    set: Name
    class_name: Name
    name: Name


class Search(BaseModel):
    """Where to look for what a set shows."""

    model_config = ConfigDict(extra="forbid")
    videos: Annotated[list[str], Field(min_length=1, max_length=200)]
    instances: Literal["auto", "none", "components", "minvis", "objects"] = "auto"


def example_routes(context: Context) -> APIRouter:
    """The routes below ``/api/examples``."""
    routes = APIRouter(prefix="/api/examples")
    examples = Examples(context.out / "examples")

    @routes.get("")
    def sets() -> dict[str, Any]:
        return {"sets": {name: [vars(example) for example in some] for name, some in examples.sets().items()}}

    @routes.post("")
    def show(shown: Annotated[Shown, Body()]) -> dict[str, Any]:
        video = context.library.get(shown.media, "video")
        rgb = context.frames.reader(video.path).rgb(shown.frame)
        mask = checked_mask(shown.counts, (rgb.shape[0], rgb.shape[1]))
        added = examples.add(shown.set, shown.class_name, f"{video.path.stem}_f{shown.frame:06d}", rgb, mask)
        return {**vars(added), **sets()}

    @routes.post("/remove")
    def remove(removed: Annotated[Removed, Body()]) -> dict[str, Any]:
        examples.remove(removed.set, Example(removed.class_name, removed.name))
        return sets()

    @routes.get("/{set_name}/{class_name}/{name}.jpg")
    def picture(set_name: str, class_name: str, name: str) -> Response:
        outlined = examples.outlined(set_name, Example(class_name, name))
        return Response(encoded(outlined, 480), media_type="image/jpeg")

    @routes.post("/{set_name}/find")
    def find(set_name: str, search: Annotated[Search, Body()]) -> dict[str, Any]:
        """One job per video."""
        folder = examples.path(set_name)
        if all(example.class_name == NEGATIVE for example in examples.sets()[set_name]):
            raise ConfigError(f"{set_name}: shows only what must not be found; show the object at least once")
        jobs = []
        for identity in dict.fromkeys(search.videos):
            video = context.library.get(identity, "video")
            jobs.append(queue(context, _search(context, folder, video.path, search.instances)))
        return {"jobs": [described(context, job) for job in jobs]}

    return routes


def _search(context: Context, examples: Path, video: Path, instances: str) -> Command:
    out = new_folder(context, "found", f"{examples.name}-{video.stem}")
    words = ["segment", str(video), "--support", str(examples), "--instances", instances, "--out", str(out)]
    return Command(f"Find {examples.name} in {video.name}", tuple(words), ("run", out), resumable=True)
