"""`fewmask mine VIDEO... --out DATASET`: pseudo-labels from unlabelled video."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewmask.cli.console import Progress, counted, note, say, say_json
from fewmask.cli.options import Device, Json, Resume
from fewmask.pipelines.mine_request import MineRequest, RefineRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewmask.mining.workers import VideoOutcome
    from fewmask.pipelines.refine import RefinedRound
    from fewmask.training.loop import StepReport


def mine(
    videos: Annotated[
        list[str] | None,
        typer.Argument(metavar="VIDEO...", help="Videos, folders of images, globs or addresses.", show_default=False),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder of the dataset; must be empty unless --resume.")],
    proposals: Annotated[str, typer.Option(help="Where masks come from: minvis, maskrcnn or sam.")] = "minvis",
    weights: Annotated[
        str | None, typer.Option(help="Of the proposals: small (bundled), a folder, a file or a hub name.")
    ] = None,
    background: Annotated[
        Path | None, typer.Option(help="Other weights of the background network.", metavar="FILE")
    ] = None,
    flow: Annotated[str, typer.Option(help="dis (needs no weights) or raft.")] = "dis",
    flow_weights: Annotated[
        Path | None, typer.Option(help="RAFT weights, torchvision's names.", metavar="FILE")
    ] = None,
    top_n: Annotated[
        int | None, typer.Option("-n", min=1, help="Masks kept per frame. [15]", show_default=False)
    ] = None,
    candidates: Annotated[
        int | None, typer.Option("-k", min=1, help="Combinations per frame. [10]", show_default=False)
    ] = None,
    frame_step: Annotated[
        int | None, typer.Option(min=1, help="One frame in so many is looked at. [1]", show_default=False)
    ] = None,
    keep_every: Annotated[
        int | None, typer.Option(min=1, help="Of those, one in so many enters the dataset. [5]", show_default=False)
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file with any of the mining settings.", metavar="FILE")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 = one per core, 8 at most.")] = 0,
    ray: Annotated[
        str | None,
        typer.Option(help="Run the processes on a Ray cluster: its address, auto, or local. Needs the extra scale."),
    ] = None,
    device: Device = "auto",
    resume: Resume = False,
    review: Annotated[
        Path | None, typer.Option(help="Apply review.json, as the review page saves it, to --out.", metavar="FILE")
    ] = None,
    only_accepted: Annotated[
        bool, typer.Option("--only-accepted", help="With --review: drop undecided tracks.")
    ] = False,
    refine: Annotated[
        str | None, typer.Option(help="Then train the proposal network: finetune (mined masks alone) or retrain.")
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option(help="With --refine: COCO file of what is known already.", metavar="FILE")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures of --labelled; default: images beside it.")
    ] = None,
    require: Annotated[str | None, typer.Option(help="Use images of --labelled with this field true only.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="With --refine: mine and refine so many times.")] = 1,
    refine_recipe: Annotated[
        Path | None, typer.Option(help="With --refine: a MinVIS recipe of your own.", metavar="FILE")
    ] = None,
    refine_steps: Annotated[int | None, typer.Option(min=1, help="With --refine: training steps of a round.")] = None,
    as_json: Json = False,
) -> None:
    """Find object masks in unlabelled videos and write them as a dataset, with a page to review them."""
    if review is not None:
        from fewmask.mining.mine_videos import apply_review

        written = apply_review(out, review, only_accepted=only_accepted)
        say_json({"instances": written}) if as_json else say(f"reviewed: {written}")
        return
    given: dict[str, Any] = {"proposals": top_n, "candidates": candidates, "keep_every": keep_every,
                             "frame_step": frame_step}  # fmt: skip
    request = MineRequest(
        videos=videos or [], out=out, proposals=proposals, weights=weights, background=background, flow=flow,
        flow_weights=flow_weights, settings_file=settings,
        settings={name: value for name, value in given.items() if value is not None},
        workers=workers, ray=ray, device=device, resume=resume, command=sys.argv,
    )  # fmt: skip
    request.check()
    refinement = None
    if refine is not None:
        refinement = RefineRequest(
            strategy=refine, labelled=labelled, images=images, require=require, rounds=rounds, recipe=refine_recipe,
            steps=refine_steps,
        )  # fmt: skip
        refinement.check()
    with Progress("videos", quiet=as_json, first="loading the networks") as progress:
        from fewmask.pipelines.mine import run_mine
        from fewmask.pipelines.refine import check_refinable, run_refine

        if refinement is not None:
            check_refinable(request, refinement)

        def report(outcome: "VideoOutcome", done: int, total: int) -> None:
            progress(done, total)
            if not as_json:
                note(_line(outcome))

        summary = run_mine(request, report)
    refined = [] if refinement is None else run_refine(request, refinement, _show)
    if as_json:
        videos_found = [vars(outcome) for outcome in summary.videos]
        rounds_done = [vars(done) for done in refined]
        say_json({"out": out, "tracks": summary.tracks_to_review, "videos": videos_found, "refined": rounds_done})
        return
    found = [outcome for outcome in summary.videos if outcome.skipped is None]
    proposed, frames = sum(video.proposals for video in found), sum(video.frames for video in found)
    say(
        f"{counted(sum(video.masks for video in found), 'mask')} kept of {counted(proposed, 'proposal')} in "
        f"{counted(frames, 'frame')} of {counted(len(found), 'video')}; {len(summary.videos) - len(found)} skipped"
    )
    say(f"dataset: {out / 'instances.json'}, {out / 'ytvis.json'} ({counted(summary.tracks_to_review, 'track')})")
    say(f"review:  {out / 'review.html'}, then fewmask mine --out {out} --review review.json")
    _say_refined(refined)


def _say_refined(rounds: "Sequence[RefinedRound]") -> None:
    for done in rounds:
        say(
            f"round {done.number}: refined on {counted(done.masks, 'mask')} in "
            f"{counted(done.pictures, 'picture')}: {done.weights}"
        )
        for name in ("AP", "AP50", "AP75"):
            if name in done.before and name in done.after:
                say(
                    f"  {name:<4} on held-out labelled pictures {done.before[name]:.3f}, refined {done.after[name]:.3f}"
                )


def _show(number: int, line: "StepReport") -> None:
    losses = "  ".join(f"{name} {value:.3f}" for name, value in (line.losses | line.figures).items())
    note(f"round {number}, step {line.step}/{line.steps}  {losses}  {line.eta_seconds / 60:.0f} min left")


def _line(outcome: "VideoOutcome") -> str:
    """What was kept of one video, or why nothing was."""
    if outcome.skipped is not None:
        return f"{outcome.name}: skipped: {outcome.skipped}"
    early = f"; ended early: {outcome.note}" if outcome.note else ""
    return (
        f"{outcome.name}: {outcome.masks} of {counted(outcome.proposals, 'proposal')} kept in "
        f"{counted(outcome.frames, 'frame')} ({outcome.empty} without any), {counted(outcome.tracks, 'track')}; "
        f"foreground {outcome.foreground:.2f}, stability {outcome.stability:.2f}; motion and consistency changed the "
        f"choice in {counted(outcome.reconsidered, 'frame')}; "
        f"{outcome.pairs_evaluated} of {outcome.pairs} flow pairs were needed{early}"
    )
