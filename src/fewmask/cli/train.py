"""`fewmask train MODEL RECIPE ...`: train or go on training a model."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewmask.cli.console import note, say, say_json

if TYPE_CHECKING:
    from fewmask.pipelines.train import TrainRequest
    from fewmask.training.loop import StepReport

app = typer.Typer(no_args_is_help=True, help="Train a model from a recipe.")

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe; see the folder recipes.")]
Out = Annotated[Path, typer.Option(help="Folder for checkpoints, log and weights.")]
Data = Annotated[Path, typer.Option(help="COCO instances, or YouTube-VIS or OVIS annotations.")]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the pictures; default: images or JPEGImages beside --data.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's number of steps.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def minvis(
    recipe: RecipeFile,
    data: Data,
    out: Out,
    images: Images = None,
    initial: Annotated[Path | None, typer.Option(help="MobileSAM safetensors for tiny_vit_5m.")] = None,
    start_from: Annotated[
        str | None, typer.Option(help="Go on from small (the bundled weights), a weights folder, or a hub name.")
    ] = None,
    frames: Annotated[float | None, typer.Option(help="Share of each video's frames that is used, e.g. 0.01.")] = None,
    steps: Steps = None,
    device: Device = "auto",
    resume: Resume = False,
    json_output: Json = False,
) -> None:
    """An image segmenter for MinVIS, on labelled pictures or sparsely labelled videos."""
    from fewmask.pipelines.train import train_minvis

    request = _request(recipe, out, steps, device, resume)
    _finish(
        out,
        json_output,
        lambda: train_minvis(request, data, images=images, initial=initial, start_from=start_from, frames=frames),
    )


@app.command()
def vipmt(
    recipe: RecipeFile,
    data: Data,
    backbone: Annotated[Path, typer.Option(help="ImageNet checkpoint of the frozen backbone.")],
    out: Out,
    images: Images = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="A further --data file; classes of the same name are one. May be repeated."),
    ] = None,
    novel: Annotated[list[str] | None, typer.Option(help="A class training must not see; may be repeated.")] = None,
    steps: Steps = None,
    device: Device = "auto",
    resume: Resume = False,
    json_output: Json = False,
) -> None:
    """A few-shot network, on pictures or videos of many classes."""
    from fewmask.pipelines.train import train_vipmt

    request = _request(recipe, out, steps, device, resume)
    _finish(
        out,
        json_output,
        lambda: train_vipmt(request, data, backbone, images=images, novel=novel or (), also=also or ()),
    )


@app.command()
def selfshot(
    recipe: RecipeFile,
    data: Annotated[Path, typer.Option(help="YouTube-VIS annotations; `fewmask synth` makes some.")],
    out: Out,
    images: Images = None,
    initial: Annotated[Path | None, typer.Option(help="ImageNet checkpoint for its backbone.")] = None,
    held_out: Annotated[Path | None, typer.Option(help="Annotations of other videos, to validate on.")] = None,
    steps: Steps = None,
    device: Device = "auto",
    resume: Resume = False,
    json_output: Json = False,
) -> None:
    """The transformer that segments what a query and its supports have in common, on labelled videos."""
    from fewmask.pipelines.train import train_selfshot

    request = _request(recipe, out, steps, device, resume)
    _finish(out, json_output, lambda: train_selfshot(request, data, images=images, initial=initial, held_out=held_out))


@app.command("clip-encoder")
def clip_encoder(
    recipe: RecipeFile,
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Unlabelled videos, or folders of them.")],
    out: Out,
    initial: Annotated[Path | None, typer.Option(help="Checkpoint for its backbone.")] = None,
    steps: Steps = None,
    device: Device = "auto",
    resume: Resume = False,
    json_output: Json = False,
) -> None:
    """The embedding by which a video finds its relatives, on unlabelled videos."""
    from fewmask.pipelines.train import train_clip_encoder

    request = _request(recipe, out, steps, device, resume)
    _finish(out, json_output, lambda: train_clip_encoder(request, videos, initial=initial))


@app.command()
def background(
    recipe: RecipeFile,
    data: Data,
    out: Out,
    images: Images = None,
    hold_out: Annotated[int, typer.Option(min=0, help="Images whose id it divides are for validation.")] = 0,
    imagenet: Annotated[bool, typer.Option(help="Start from timm's ImageNet weights.")] = True,
    initial: Annotated[
        Path | None,
        typer.Option(help="Start from this instead: an earlier background.safetensors, or its backbone's checkpoint."),
    ] = None,
    require: Annotated[
        str | None, typer.Option(help="Only images with this field true in --data, e.g. all80: annotated for all.")
    ] = None,
    steps: Steps = None,
    device: Device = "auto",
    resume: Resume = False,
    json_output: Json = False,
) -> None:
    """The foreground network of mining, on labelled pictures."""
    from fewmask.pipelines.train import train_background

    request = _request(recipe, out, steps, device, resume)
    _finish(
        out,
        json_output,
        lambda: train_background(
            request, data, images=images, hold_out=hold_out, imagenet=imagenet, initial=initial, require=require
        ),
    )


def _request(recipe: Path, out: Path, steps: int | None, device: str, resume: bool) -> "TrainRequest":
    from fewmask.pipelines.train import TrainRequest

    return TrainRequest(recipe, out, steps=steps, device=device, resume=resume, report=_show)


def _show(line: "StepReport") -> None:
    losses = "  ".join(f"{name} {value:.3f}" for name, value in (line.losses | line.figures).items())
    left = f"  {line.eta_seconds / 60:.0f} min left" if line.losses else ""
    note(f"step {line.step}/{line.steps}  {losses}{left}")


def _finish(out: Path, json_output: bool, run: Callable[[], dict[str, float]]) -> None:
    figures = run()
    if json_output:
        say_json({"out": out, "figures": figures})
        return
    for name, value in figures.items():
        say(f"{name:<8} {value:.3f}")
    say(f"weights: {out / 'weights'}")
