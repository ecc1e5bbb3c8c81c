"""`fewmask demo`: the bundled clip through the bundled weights, offline; --few-shot looks for persons."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import say
from fewmask.cli.options import Json, Resume
from fewmask.cli.segment import run_and_say
from fewmask.pipelines.segment_request import ClassShown, EveryObject, RunOptions


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results, by default out/demo or out/demo-few-shot; empty unless --resume."),
    ] = None,
    few_shot: Annotated[
        bool, typer.Option("--few-shot", help="Find the persons that five bundled pictures with masks show (VIPMT).")
    ] = False,
    short: Annotated[bool, typer.Option("--short", help="The clip's first second alone: a quick check.")] = False,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Segment and track the bundled clip; works offline at once."""
    from fewmask.pipelines.segment import demo_clip, demo_supports

    folder = out or Path("out") / ("demo-few-shot" if few_shot else "demo")
    request = ClassShown(support=demo_supports()) if few_shot else EveryObject()
    options = RunOptions(source=str(demo_clip(short=short)), out=folder, resume=resume, command=sys.argv)
    run_and_say(options, request, as_json=as_json)
    if not as_json:
        say(f"Look at {folder / 'overlay.mp4'}")
