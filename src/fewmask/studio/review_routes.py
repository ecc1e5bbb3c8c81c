"""Mined datasets for the page: tracks, pictures, decisions written back at once."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from fewmask.studio.commands import Command
from fewmask.studio.context import Context
from fewmask.studio.job_routes import described, queue
from fewmask.studio.mined_tracks import REVIEW, Decision, MinedTracks, State

_AN_HOUR = {"Cache-Control": "private, max-age=3600"}
Width = Annotated[int, Query(ge=32, le=1920)]


class OneDecision(BaseModel):
    """See `fewmask.studio.mined_tracks.Decision`."""

    model_config = ConfigDict(extra="forbid")
    video: str
    track: int
    state: State
    was: State


class SomeDecisions(BaseModel):
    """Decisions that are written together."""

    model_config = ConfigDict(extra="forbid")
    decisions: Annotated[list[OneDecision], Field(max_length=100_000)]


class Apply(BaseModel):
    """Which tracks stay in the reviewed dataset."""

    model_config = ConfigDict(extra="forbid")
    only_accepted: bool = False


def review_routes(context: Context) -> APIRouter:
    """The routes below ``/api/datasets``."""
    routes = APIRouter(prefix="/api/datasets")
    opened: dict[str, MinedTracks] = {}

    def dataset(thing: str) -> MinedTracks:
        folder = context.library.get(thing, "dataset").path
        if thing not in opened:
            opened[thing] = MinedTracks(folder, lambda path, index: context.frames.reader(path).rgb(index))
        return opened[thing]

    @routes.get("/{thing}")
    def tracks(thing: str) -> dict[str, Any]:
        title = context.library.get(thing, "dataset").title
        return {"id": thing, "title": title, "tracks": list(dataset(thing).tracks())}

    @routes.get("/{thing}/{video}/{track}/picture.jpg")
    def picture(thing: str, video: str, track: int, width: Width = 640) -> Response:
        return Response(dataset(thing).picture(video, track, width), media_type="image/jpeg", headers=_AN_HOUR)

    @routes.get("/{thing}/{video}/{track}/clip.webp")
    def clip(thing: str, video: str, track: int, width: Width = 480) -> Response:
        return Response(dataset(thing).moving(video, track, width), media_type="image/webp", headers=_AN_HOUR)

    @routes.post("/{thing}/decisions")
    def decide(thing: str, some: Annotated[SomeDecisions, Body()]) -> dict[str, int]:
        decided = dataset(thing).decide(Decision(**one.model_dump()) for one in some.decisions)
        return {"accepted": len(decided.accepted), "rejected": len(decided.rejected)}

    @routes.post("/{thing}/apply")
    def apply(thing: str, how: Annotated[Apply, Body()]) -> dict[str, Any]:
        """A job that writes ``instances.reviewed.json`` and ``ytvis.reviewed.json``."""
        found = context.library.get(thing, "dataset")
        dataset(thing).decide(())  # so that there is a file
        words = ["mine", "--out", str(found.path), "--review", str(found.path / REVIEW)]
        words += ["--only-accepted"] if how.only_accepted else []
        command = Command(f"Write {found.title} as reviewed", tuple(words), ("dataset", found.path), resumable=False)
        return described(context, queue(context, command))

    return routes
