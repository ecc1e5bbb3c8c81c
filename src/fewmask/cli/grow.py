"""`fewmask grow VIDEO... --out DIR`: from unlabelled videos to a dataset and a segmenter of what they show."""

from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import Progress, note, say, say_json

_WANTED, _WORK, _MODELS = "What is wanted", "How it is run", "Models"


def grow(
    videos: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO...", help="Videos, folders of images, globs or addresses.", show_default=False),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; must be empty unless --resume.")],
    like: Annotated[
        list[Path] | None,
        typer.Option(
            "--like",
            help="Pictures, clips, or masked pictures of what is wanted; repeat it for more. Without it every kind "
            "that stands out is a group.",
            rich_help_panel=_WANTED,
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Class name of what --like shows.", rich_help_panel=_WANTED)] = "wanted",
    group: Annotated[
        list[int] | None,
        typer.Option("--group", help="Teach this group only; repeat it for more.", rich_help_panel=_WANTED),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups", help="JSON that picks, merges, drops and names groups.", metavar="FILE", rich_help_panel=_WANTED
        ),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Groups taught by default.", rich_help_panel=_WANTED)] = 3,
    keep: Annotated[
        float, typer.Option(help="Least confidence of what is kept, 0 to 1.", rich_help_panel=_WANTED)
    ] = 0.5,
    rounds: Annotated[int, typer.Option(min=1, help="Most rounds of find and teach.", rich_help_panel=_WORK)] = 2,
    until: Annotated[
        str | None,
        typer.Option(
            help="Stop after groups, supports, keep or teach of the first round, to look; --resume goes on.",
            rich_help_panel=_WORK,
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(help="Leave out retrieve, background or teach; repeat it for more.", rich_help_panel=_WORK),
    ] = None,
    clips: Annotated[
        int,
        typer.Option(
            min=0, help="Clips of the pool searched per kind; 0 = a fifth, 20 or more.", rich_help_panel=_WORK
        ),
    ] = 0,
    frame_step: Annotated[
        int, typer.Option(min=1, help="One frame in so many is looked at.", rich_help_panel=_WORK)
    ] = 3,
    keep_every: Annotated[
        int, typer.Option(min=1, help="Of those, one in so many enters the dataset.", rich_help_panel=_WORK)
    ] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of a round.", rich_help_panel=_WORK)] = 200,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes; 0 = one per core, 8 at most.", rich_help_panel=_WORK)
    ] = 0,
    ray: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster, auto, or local. Needs the extra scale.", rich_help_panel=_WORK),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.", rich_help_panel=_WORK)] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out.", rich_help_panel=_WORK)
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_WORK)] = "auto",
    weights: Annotated[str, typer.Option(help="Of the segmenter that begins.", rich_help_panel=_MODELS)] = "small",
    few_shot: Annotated[str, typer.Option(help="Of the few-shot network.", rich_help_panel=_MODELS)] = "small",
    background: Annotated[
        Path | None, typer.Option(help="Of the background network.", metavar="FILE", rich_help_panel=_MODELS)
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            help="COCO file of what is known: joins the training, its held-out part measures what is lost.",
            metavar="FILE",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of its pictures.", rich_help_panel=_MODELS)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find one kind of object in unlabelled videos and teach it: mine, group, retrieve, find, keep, teach, repeat."""
    import sys

    from fewmask.pipelines.early_checks import check_device, check_files, check_free, check_some, check_weights

    if not resume:
        check_some(videos)
    for shown in like or ():
        check_files({"--like": shown})
    check_files({"--groups": groups, "--background": background, "--labelled": labelled, "--images": images})
    for named in (weights, few_shot):
        check_weights(named)
    check_device(device)
    check_free(out, resume=resume)

    from fewmask.pipelines.grow.group_choice import GroupChoice, read_choice
    from fewmask.pipelines.grow.request import GrowRequest

    choice = GroupChoice() if groups is None else read_choice(groups)
    if group:
        choice = choice.model_copy(update={"pick": [*choice.pick, *group]})
    request = GrowRequest(
        videos, out, tuple(like or ()), name, rounds, choice, most, until, frozenset(skip or ()), clips, frame_step,
        keep_every, keep, weights, few_shot, background, labelled, images, steps, workers, ray, device, seed, resume,
        tuple(sys.argv),
    )  # fmt: skip
    request.check()
    note("loading the networks")

    from fewmask.pipelines.grow.estimate import estimate
    from fewmask.pipelines.grow.run import run_grow

    if not as_json:
        note(str(estimate(request)))
    with Progress("grow", quiet=as_json) as bar:
        summary = run_grow(
            request,
            lambda stage: note(f"{stage} ...") if not as_json else None,
            lambda _, done, total: bar(done, total),
        )
    if as_json:
        say_json(
            {
                "rounds": [{"round": done.number, "agreement": done.agreement} for done in summary.rounds],
                "best": summary.best,
                "dataset": summary.dataset,
                "weights": summary.weights,
                "report": summary.report,
                "problems": summary.problems,
            }
        )
        return
    for why in summary.problems.values():
        note(why)
    for done in summary.rounds:
        kept = done.stages.get("keep")
        tracks = "" if kept is None else f"{kept.outcome['tracks']} tracks in {kept.outcome['pictures']} pictures"
        agreed = "" if done.agreement is None else f", agreement on held-out videos {done.agreement:.3f}"
        say(f"round {done.number}: {tracks}{agreed}")
    say(f"Look at {summary.report}")
    for path in (summary.dataset, summary.weights):
        if path is not None:
            say(f"  {path}")
