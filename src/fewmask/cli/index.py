"""`fewmask index`: embed a pool of unlabelled videos, or bring it up to date."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewmask.cli.console import counted

if TYPE_CHECKING:
    from fewmask.retrieval.pool import Pool, Progress


def index(
    videos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="VIDEO...", help="Videos, folders of videos, or folders of frames.", show_default=False),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="The index: made, or brought up to date.", metavar="INDEX")],
    encoder: Annotated[
        str,
        typer.Option(
            help="'small' for the bundled encoder, 'fixed' for ImageNet features, or a trained encoder's folder; "
            "'auto' is the one that made the index, and small for a new one."
        ),
    ] = "auto",
    weights: Annotated[
        Path | None, typer.Option(help="Other weights for the fixed features (safetensors).", metavar="FILE")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.2, max=3600, help="Longest clip, in seconds.")] = 5.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that embed, on this machine.")] = 1,
    ray: Annotated[
        bool, typer.Option("--ray", help="Embed by --workers actors of the Ray cluster RAY_ADDRESS, or a local one.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the given videos out instead.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Take out videos that are no longer on disk.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Embed unlabelled videos so that supports can be found among them.

    Run it again with more videos, or after a crash: only what is new or has changed is embedded. Videos that cannot
    be read are listed and skipped.
    """
    from fewmask.errors import ConfigError
    from fewmask.pipelines.early_checks import check_device, check_files, check_some, check_weights

    if not videos and not prune:
        raise ConfigError("no video is given; name some, or use --prune")
    if videos and not remove:
        check_some(videos)
    check_files({"--weights": weights})
    check_weights(encoder)
    check_device(device)

    import torch

    from fewmask.media.find_videos import find_videos
    from fewmask.retrieval.embedders import embedder_name, load_embedder
    from fewmask.retrieval.pool import Pool
    from fewmask.retrieval.workers import embed_in_processes, embed_on_ray

    pool = Pool.open(out)
    removed = pool.remove(pool.missing()) if prune else 0
    if remove:
        removed += pool.remove(pool.within(videos or []))
    elif videos:
        name = embedder_name(pool, encoder, weights=weights)
        make = partial(load_embedder, name, weights=weights, device=device)
        wants_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        spread = partial(embed_on_ray, gpus=int(wants_gpu)) if ray else embed_in_processes
        found = find_videos(videos)
        pool.add(
            found,
            make(),
            seconds=seconds,
            embed=(lambda some: spread(some, make, seconds, workers)) if ray or workers > 1 else None,
            report=_progress,
        )
        _refuse_nothing(pool, found)
    problems = {name: record.problem for name, record in pool.videos.items() if record.problem}
    copies = sum(record.copies for record in pool.videos.values())
    if as_json:
        facts = {"index": str(out), "videos": len(pool.videos), "clips": len(pool.index), "copies": copies}
        typer.echo(json.dumps({**facts, "removed": removed, "problems": problems}))
        return
    for problem in problems.values():
        typer.echo(f"skipped: {problem}", err=True)
    near = f"{copies} near-{'copy' if copies == 1 else 'copies'}"
    typer.echo(
        f"{out}: {counted(len(pool.index), 'clip')} of {counted(len(pool.videos), 'video')}; "
        f"{near} left out, {counted(len(problems), 'video')} with problems, "
        f"{removed} removed"
    )


def _refuse_nothing(pool: "Pool", videos: list[Path]) -> None:
    """Videos of which none could be read are no success, though the pool notes them."""
    from fewmask.errors import VideoError
    from fewmask.retrieval.pool_names import video_name

    known = pool.videos
    records = [known.get(video_name(video)) for video in videos]
    problems = [record.problem for record in records if record and record.problem and not record.clips]
    if problems and len(problems) == len(videos):
        raise VideoError(f"none of the {len(videos)} videos could be read; {problems[0]}")


def _progress(progress: "Progress") -> None:
    """A line per video on standard error."""
    record = progress.record
    typer.echo(f"{progress.done}/{progress.total} {Path(progress.video).name}: {record.clips} clips", err=True)
