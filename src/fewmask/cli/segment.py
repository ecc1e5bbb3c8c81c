"""`fewmask segment SOURCE --out DIR`: every object of a video, with ids, or the class that masked pictures show."""

import sys
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from fewmask.cli.console import Progress, counted, note, say, say_json
from fewmask.cli.options import Device, Json, Out, Resume
from fewmask.errors import ConfigError
from fewmask.media.stage_times import Profile, profiled
from fewmask.pipelines.segment_request import ClassShown, EveryObject, RunOptions, SegmentRequest, SharedWithPool

EVERY = "Every object (MinVIS)"
SHOWN = "The class of masked pictures (VIPMT)"
SHARED = "What is shared with other videos (Self-Shot)"
BOTH = "With --support or --pool"
RESULTS = "Results"
RUN = "Run"


def segment(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="Video file, folder of images, glob, camera number, RTSP/HTTP address.")
    ],
    out: Out,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.", rich_help_panel=EVERY)] = "auto",
    batch: Annotated[str, typer.Option(help="Frames per forward pass, or auto.", rich_help_panel=EVERY)] = "auto",
    top_k: Annotated[int, typer.Option(min=1, help="Tracks in tracks.json.", rich_help_panel=EVERY)] = 10,
    ranking: Annotated[
        str,
        typer.Option(
            help="Track score: paper (class), mask-quality (times mask probability), or auto.", rich_help_panel=EVERY
        ),
    ] = "auto",
    mode: Annotated[
        str, typer.Option(help="exact, bounded, or auto: bounded above 300 frames.", rich_help_panel=EVERY)
    ] = "auto",
    short_side: Annotated[
        int, typer.Option(help="Network input size; 0 = what the weights were trained for.", rich_help_panel=EVERY)
    ] = 0,
    runtime: Annotated[
        str,
        typer.Option(
            help="What computes the network: torch, or on CPUs onnxruntime or openvino (not every network).",
            rich_help_panel=EVERY,
        ),
    ] = "torch",
    support: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures with masks, or COCO file: find what they show.", rich_help_panel=SHOWN),
    ] = None,
    negative: Annotated[
        Path | None, typer.Option(help="The same, of what must not be found.", rich_help_panel=SHOWN)
    ] = None,
    pool: Annotated[
        Path | None,
        typer.Option(help="Index of unlabelled videos: find what SOURCE shares with its like.", rich_help_panel=SHARED),
    ] = None,
    shots: Annotated[int, typer.Option("-k", min=1, help="Supports in all.", rich_help_panel=SHARED)] = 5,
    support_video: Annotated[
        list[Path] | None,
        typer.Option(
            help="A video or picture that shows the same, before or without those of --pool; repeatable.",
            rich_help_panel=SHARED,
        ),
    ] = None,
    random_supports: Annotated[
        bool,
        typer.Option("--random-supports", help="Draw the supports, do not look for them.", rich_help_panel=SHARED),
    ] = False,
    encoder: Annotated[
        str, typer.Option(help="What made the pool, if it cannot tell.", rich_help_panel=SHARED)
    ] = "auto",
    instances: Annotated[
        str,
        typer.Option(
            help="What is found, as objects with ids: none, components, minvis or objects with --support, none or "
            "objects with --pool; auto is objects with the bundled weights, else none.",
            rich_help_panel=BOTH,
        ),
    ] = "auto",
    seed: Annotated[
        int, typer.Option(min=0, help="Of random choices: memory frames, random supports.", rich_help_panel=BOTH)
    ] = 0,
    min_score: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, rich_help_panel=RESULTS,
            help="Tracks below it are in tracks.json only; default 0.3, --pool 0.5; --support hides what flickers up.",
        ),
    ] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(
            help="Also cvat, cvat-masks, label-studio, label-studio-boxes, coco or frames; may be repeated.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Write overlay.mp4.", rich_help_panel=RESULTS)] = True,
    scores: Annotated[
        bool, typer.Option("--scores", help="Write scores into overlay.mp4.", rich_help_panel=RESULTS)
    ] = False,
    all_tracks: Annotated[
        bool,
        typer.Option(
            "--all-tracks", help="Draw tracks inside a better one and tiny ones too.", rich_help_panel=RESULTS
        ),
    ] = False,
    masks: Annotated[bool, typer.Option(help="Write palette PNGs.", rich_help_panel=RESULTS)] = True,
    weights: Annotated[
        str, typer.Option(help="small (bundled), a folder, or a name on the hub.", rich_help_panel=RUN)
    ] = "small",
    device: Device = "auto",
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Go on after frames that cannot be decoded.", rich_help_panel=RUN)
    ] = False,
    resume: Resume = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say where the time went.", rich_help_panel=RUN)
    ] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Segment and track every object of SOURCE, or what supports or a pool name.

    Alone: every object (MinVIS). With --support: the class that its pictures show (VIPMT). With --pool: what SOURCE has
    in common with videos like it (Self-Shot).
    """
    request = _request(
        context, precision=precision, batch=batch, top_k=top_k, ranking=ranking, mode=mode,
        short_side=short_side or None, runtime=runtime, support=support, negative=negative, pool=pool, shots=shots,
        support_video=tuple(support_video or ()), random_supports=random_supports, encoder=encoder,
        instances=instances, seed=seed,
    )  # fmt: skip
    options = RunOptions(
        source=int(source) if source.isdigit() and not Path(source).exists() else source, out=out, weights=weights,
        device=device, exports=tuple(export or ()), overlay=overlay, masks=masks, scores=scores, all_tracks=all_tracks,
        min_score=min_score, skip_broken=skip_broken, resume=resume, command=sys.argv,
    )  # fmt: skip
    run_and_say(options, request, as_json=as_json, profile=profile)


def run_and_say(options: RunOptions, request: SegmentRequest, *, as_json: bool, profile: bool = False) -> None:
    """Segment with progress, then say what came of it and where it is."""
    from fewmask.pipelines.segment import run_segment

    with ExitStack() as stack:
        times = stack.enter_context(profiled()) if profile else None
        progress = stack.enter_context(Progress("frames", quiet=as_json, first="loading the network"))
        summary = run_segment(options, request, progress)
    if as_json:
        found = {"out": options.out, "frames": summary.frames, "tracks": summary.tracks, "files": list(summary.files)}
        say_json(found if times is None else {**found, "profile": times.as_json()})
        return
    note("")
    say(f"{counted(summary.frames, 'frame')}, {counted(summary.tracks, 'track')} found")
    if summary.hidden.ids:
        say(f"not drawn: {summary.hidden}; --all-tracks draws them")
    for path in summary.files:
        say(f"  {path}")
    if times is not None:
        _say_profile(times, summary.frames)


def _say_profile(profile: Profile, frames: int) -> None:
    """Stages as a table, those of the most seconds first."""
    first = "" if profile.first_frame_s is None else f", first frame after {profile.first_frame_s:.2f} s"
    say(f"time: {profile.total_s:.2f} s, {frames / max(profile.total_s, 1e-9):.2f} frames/s{first}")
    say(f"  {'stage':<10}{'seconds':>9}{'share':>8}{'ms a frame':>12}")
    for name, of in sorted(profile.stages.items(), key=lambda item: -item[1].seconds):
        share = of.seconds / max(profile.total_s, 1e-9)
        say(f"  {name:<10}{of.seconds:>9.2f}{share:>8.1%}{1000 * of.seconds / max(frames, 1):>12.1f}")
    say("  stages run side by side, so that shares may exceed the whole; 'method' is waiting where others are named")


def _request(context: typer.Context, **given: Any) -> SegmentRequest:
    """The request of the method that the options ask for; those of another method are refused, not ignored."""
    kind: type[SegmentRequest] = EveryObject
    beside = "without --support or --pool"
    if given["support"] is not None:
        kind, beside = ClassShown, "with --support"
    elif given["pool"] is not None or given["support_video"]:
        kind, beside = SharedWithPool, "with --pool" if given["pool"] is not None else "with --support-video"
    own = {field.name for field in fields(kind)}
    for option in context.command.params:
        typed = str(getattr(context.get_parameter_source(option.name or ""), "name", "")) == "COMMANDLINE"
        if typed and option.name in given and option.name not in own:
            raise ConfigError(f"{option.opts[0]} cannot be used {beside}; leave it out")
    return kind(**{name: given[name] for name in own})
