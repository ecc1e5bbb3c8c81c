"""`fewmask train MODEL RECIPE ...`: train or go on training a model."""

from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import note, say, say_json

app = typer.Typer(no_args_is_help=True, help="Train a model from a recipe.")


@app.callback()
def models() -> None:
    """Train a model from a recipe."""


@app.command()
def minvis(
    recipe: Annotated[Path, typer.Argument(help="A recipe, e.g. recipes/minvis/coco_mini/small.toml.")],
    data: Annotated[Path, typer.Option(help="COCO instances, or YouTube-VIS or OVIS annotations.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log and weights.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; default: images or JPEGImages beside --data.")
    ] = None,
    initial: Annotated[Path | None, typer.Option(help="MobileSAM safetensors for the backbone.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's number of steps.")] = None,
    frames: Annotated[float | None, typer.Option(help="Share of each video's frames that is used, e.g. 0.01.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train an image segmenter for MinVIS on labelled pictures."""
    from fewmask.pipelines.train import train_minvis
    from fewmask.training.loop import StepReport

    def show(line: StepReport) -> None:
        losses = "  ".join(f"{name} {value:.3f}" for name, value in (line.losses | line.figures).items())
        left = f"  {line.eta_seconds / 60:.0f} min left" if line.losses else ""
        note(f"step {line.step}/{line.steps}  {losses}{left}")

    figures = train_minvis(
        recipe,
        data,
        out,
        images=images,
        initial=initial,
        steps=steps,
        frames=frames,
        device=device,
        resume=resume,
        report=show,
    )
    if json_output:
        say_json({"out": out, "figures": figures})
        return
    for name, value in figures.items():
        say(f"{name:<8} {value:.3f}")
    say(f"weights: {out / 'weights'}")
