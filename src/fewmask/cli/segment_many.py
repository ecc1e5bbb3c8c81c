"""`fewmask segment-many`: a manifest of videos, here or on a Ray cluster, results in a folder or an object store."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import counted, note, say, say_json
from fewmask.cli.options import Device, Json
from fewmask.errors import VideoError
from fewmask.pipelines.segment_request import EveryObject, RunOptions


def segment_many(
    manifest: Annotated[Path, typer.Argument(help="Text file: a video (path or s3:// address) a line, or name,video.")],
    *,
    out: Annotated[str, typer.Option("--out", help="Folder or s3:// address of the results.", metavar="PLACE")],
    workers: Annotated[int, typer.Option(min=1, help="Processes, or with --ray actors over all machines.")] = 1,
    ray: Annotated[
        str | None, typer.Option(help="Spread over a Ray cluster: its address, auto, or local.", metavar="ADDRESS")
    ] = None,
    weights: Annotated[str, typer.Option(help="small (bundled), or a folder that every machine sees.")] = "small",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16; auto depends on the machine.")] = "fp32",
    top_k: Annotated[int, typer.Option(min=1, help="Tracks in tracks.json.")] = 10,
    overlay: Annotated[bool, typer.Option(help="Write overlay.mp4.")] = False,
    masks: Annotated[bool, typer.Option(help="Write palette PNGs.")] = False,
    price: Annotated[
        float, typer.Option(min=0, help="Of one worker for an hour, to print what a thousand hours of video cost.")
    ] = 0.0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Segment every video of MANIFEST as `fewmask segment` does, exactly one result each.

    Run it again after a crash: videos that are done are left as they are.
    """
    from fewmask.pipelines.segment_many import ManyOptions, VideoDone, read_manifest
    from fewmask.pipelines.segment_many import segment_many as run

    jobs = read_manifest(manifest)
    where = out if "://" in out else str(Path(out).absolute())
    plan = RunOptions(source="", out=Path(), weights=weights, device=device, overlay=overlay, masks=masks)
    options = ManyOptions(where, EveryObject(precision=precision, top_k=top_k), plan, workers=workers, ray=ray)
    done: list[VideoDone] = []
    start = time.perf_counter()
    for video in run(jobs, options):
        done.append(video)
        said = video.problem or f"{counted(video.frames, 'frame')}, {video.worked_s:.1f} s"
        note(f"{len(done)}/{len(jobs)} {video.name}: {said}")
    took = time.perf_counter() - start
    worked = [video for video in done if video.worked_s and video.problem is None]
    shown_s, worked_s = sum(video.video_s for video in worked), sum(video.worked_s for video in worked)
    problems = [video for video in done if video.problem]
    hours = 1000 * worked_s / shown_s if shown_s else None
    if as_json:
        say_json(
            {
                "out": out, "videos": [asdict(video) for video in done], "problems": len(problems), "seconds": took,
                "worker_hours_per_1000_hours": hours,
            }
        )  # fmt: skip
    else:
        say(f"{out}: {counted(len(done) - len(problems), 'video')} done, {len(problems)} with problems, {took:.0f} s")
        if hours is not None:
            cost = f", {hours * price:.2f} at {price:g} an hour" if price else ""
            say(f"a thousand hours of video take {hours:.0f} worker hours{cost}")
    if problems and len(problems) == len(done):
        raise VideoError(f"none of the {len(done)} videos could be read; {problems[0].problem}")
