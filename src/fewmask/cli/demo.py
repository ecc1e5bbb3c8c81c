"""`fewmask demo`: the bundled clip through the bundled weights, offline; --few-shot looks for persons."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import Progress, say, say_json


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results, by default out/demo or out/demo-few-shot; empty unless --resume."),
    ] = None,
    few_shot: Annotated[
        bool, typer.Option("--few-shot", help="Find the persons that five bundled pictures with masks show (VIPMT).")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Segment and track the bundled clip; works offline at once."""
    from fewmask.pipelines.segment import demo_clip, demo_supports, run_segment
    from fewmask.pipelines.segment_request import SegmentRequest

    folder = out or Path("out") / ("demo-few-shot" if few_shot else "demo")
    support = demo_supports() if few_shot else None
    request = SegmentRequest(
        source=str(demo_clip()), out=folder, support=support,
        resume=resume, command=sys.argv,
    )  # fmt: skip
    with Progress("frames", quiet=json_output) as progress:
        summary = run_segment(request, progress)
    if json_output:
        say_json({"out": folder, "frames": summary.frames, "tracks": summary.tracks, "files": list(summary.files)})
        return
    say(f"{summary.frames} frames, {summary.tracks} tracks. Look at {folder / 'overlay.mp4'}")
    for path in summary.files:
        say(f"  {path}")
