"""`fewmask segment SOURCE --out DIR`: every object of a video, with ids, or the class that masked pictures show."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import Progress, note, say, say_json


def segment(
    source: Annotated[
        str, typer.Argument(help="Video file, folder of images, glob, camera number, RTSP/HTTP address.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results; must be empty unless --resume.")],
    support: Annotated[
        Path | None, typer.Option(help="Folder of pictures with masks, or COCO file: find what they show (VIPMT).")
    ] = None,
    negative: Annotated[Path | None, typer.Option(help="The same, of what must not be found.")] = None,
    instances: Annotated[
        str,
        typer.Option(
            help="What is found, as objects with ids: none, components, minvis or objects with --support, none or "
            "objects with --pool; auto is objects with the bundled weights, else none."
        ),
    ] = "auto",
    pool: Annotated[
        Path | None, typer.Option(help="Index of unlabelled videos: find what SOURCE shares with its like (Self-Shot).")
    ] = None,
    shots: Annotated[int, typer.Option("-k", min=1, help="With --pool: supports in all.")] = 5,
    support_video: Annotated[
        list[Path] | None,
        typer.Option(help="A video or picture that shows the same, before or without those of --pool; repeatable."),
    ] = None,
    random_supports: Annotated[
        bool, typer.Option("--random-supports", help="With --pool: draw the supports, do not look for them.")
    ] = False,
    encoder: Annotated[str, typer.Option(help="With --pool: what made it, if the pool cannot tell.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of random choices: memory frames, random supports.")] = 0,
    weights: Annotated[str, typer.Option(help="small (bundled), a folder, or a name on the hub.")] = "small",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    batch: Annotated[str, typer.Option(help="Frames per forward pass, or auto.")] = "auto",
    top_k: Annotated[int, typer.Option(min=1, help="Tracks in tracks.json.")] = 10,
    min_score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Tracks below it are in tracks.json only; default 0.3, with --support 0, --pool 0.5.",
        ),
    ] = None,
    ranking: Annotated[
        str, typer.Option(help="Track score: paper (class), mask-quality (times mask probability), or auto.")
    ] = "auto",
    mode: Annotated[str, typer.Option(help="exact, bounded, or auto: bounded above 300 frames.")] = "auto",
    short_side: Annotated[int, typer.Option(help="Network input size; 0 = what the weights were trained for.")] = 0,
    export: Annotated[list[str] | None, typer.Option(help="Also cvat, label-studio or coco; may be repeated.")] = None,
    overlay: Annotated[bool, typer.Option(help="Write overlay.mp4.")] = True,
    masks: Annotated[bool, typer.Option(help="Write palette PNGs.")] = True,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Go on after frames that cannot be decoded.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Segment and track every object of SOURCE, or what supports or a pool name.

    Alone: every object (MinVIS). With --support: the class that its pictures show (VIPMT). With --pool: what SOURCE has
    in common with videos like it (Self-Shot).
    """
    from fewmask.pipelines.segment import run_segment
    from fewmask.pipelines.segment_request import SegmentRequest

    request = SegmentRequest(
        source=int(source) if source.isdigit() and not Path(source).exists() else source,
        out=out, support=support, negative=negative, instances=instances, pool=pool, shots=shots,
        support_video=tuple(support_video or ()), random_supports=random_supports, encoder=encoder, seed=seed,
        weights=weights, device=device,
        precision=precision, batch=batch, top_k=top_k, min_score=min_score,
        ranking=ranking, mode=mode, short_side=short_side or None, exports=tuple(export or ()), overlay=overlay,
        masks=masks, skip_broken=skip_broken, resume=resume, command=sys.argv,
    )  # fmt: skip
    with Progress("frames", quiet=json_output) as progress:
        summary = run_segment(request, progress)
    if json_output:
        say_json({"out": out, "frames": summary.frames, "tracks": summary.tracks, "files": list(summary.files)})
        return
    note("")
    say(f"{summary.frames} frames, {summary.tracks} tracks shown")
    for path in summary.files:
        say(f"  {path}")
