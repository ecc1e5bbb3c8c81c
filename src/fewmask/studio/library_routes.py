"""What was opened, for the first page."""

from collections import Counter
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from fewmask.errors import FewmaskError
from fewmask.studio.context import Context
from fewmask.studio.frame_reader import FrameReaders
from fewmask.studio.library import Thing, read_manifest

_COVER_WIDTH = 480
_PLAIN = Path(__file__).parent / "static" / "icon.svg"


def library_routes(context: Context) -> APIRouter:
    """The route ``/api/library``."""
    routes = APIRouter(prefix="/api")

    @routes.get("/library")
    def library() -> dict[str, Any]:
        opened = context.library.all()
        titles = Counter((thing.kind, thing.title) for thing in opened)
        things = [described_thing(thing) for thing in opened]
        for thing, facts in zip(opened, things, strict=True):
            if titles[thing.kind, thing.title] > 1:  # the folder tells them apart
                facts["title"] = f"{thing.path.parent.name}/{thing.title}"
        return {"things": things, "out": str(context.out), "sam": context.sam is not None}

    @routes.get("/library/{thing}/cover.jpg")
    def cover(thing: str) -> Response:
        """A picture that stands for a thing; the studio's own sign where there is none."""
        found = next((one for one in context.library.all() if one.id == thing), None)
        picture = None if found is None else _cover(found, context.frames)
        if picture is None:
            return FileResponse(_PLAIN, media_type="image/svg+xml")
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})

    return routes


def _cover(thing: Thing, frames: FrameReaders) -> bytes | None:
    """From the middle of a run's overlay or of a video; the first picture of a dataset."""
    places = {
        "run": [thing.path / "overlay.mp4", *_source_of(thing.path)],
        "video": [thing.path],
        "dataset": sorted((thing.path / "images").glob("*"))[:1],
        "pool": [],
    }[thing.kind]
    for place in places:
        try:
            length = frames.reader(place).length
            return frames.jpeg(place, (length or 2) // 2, _COVER_WIDTH)
        except FewmaskError:
            continue
    return None


def _source_of(run: Path) -> list[Path]:
    source = read_manifest(run).get("inputs", {}).get("source")
    path = source.get("path") if isinstance(source, dict) else None
    return [Path(path)] if isinstance(path, str) and Path(path).exists() else []


def described_thing(thing: Thing) -> dict[str, Any]:
    """For the page: what it is and where, and of runs and datasets what their manifest says."""
    facts: dict[str, Any] = {}
    if thing.kind in ("run", "dataset"):
        manifest = read_manifest(thing.path)
        progress = manifest.get("progress", {})
        facts = {
            "status": manifest.get("status"),
            "frames": progress.get("frames"),
            "tracks": progress.get("tracks", progress.get("tracks_to_review")),
            "videos": len(progress["names"]) if isinstance(progress.get("names"), list) else None,
            "changed": manifest.get("updated"),
        }
    return {"id": thing.id, "kind": thing.kind, "title": thing.title, "path": str(thing.path), **facts}
