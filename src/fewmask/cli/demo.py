"""`fewmask demo`: the bundled clip through the bundled weights, offline."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import Progress, say, say_json


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results; must be empty unless --resume.")] = Path(
        "out/demo"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Segment and track the bundled clip; works offline at once."""
    from fewmask.pipelines.segment import demo_clip, run_segment
    from fewmask.pipelines.segment_request import SegmentRequest

    request = SegmentRequest(source=str(demo_clip()), out=out, resume=resume, command=sys.argv)
    with Progress("frames", quiet=json_output) as progress:
        summary = run_segment(request, progress)
    if json_output:
        say_json({"out": out, "frames": summary.frames, "tracks": summary.tracks, "files": list(summary.files)})
        return
    say(f"{summary.frames} frames, {summary.tracks} tracks. Look at {out / 'overlay.mp4'}")
    for path in summary.files:
        say(f"  {path}")
