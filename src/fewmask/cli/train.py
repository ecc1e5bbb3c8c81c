"""`fewmask train MODEL RECIPE ...`: train or go on training a model."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewmask.cli.console import at_once, note, say, say_json
from fewmask.cli.options import Device, Json, Out, Resume
from fewmask.errors import ConfigError
from fewmask.pipelines.early_checks import check_device, check_files, check_free, check_weights
from fewmask.pipelines.train_request import TrainRequest

if TYPE_CHECKING:
    from fewmask.training.loop import StepReport

app = typer.Typer(no_args_is_help=True, help="Train a model from a recipe.")

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe; see the folder recipes.")]
Data = Annotated[Path, typer.Option(help="COCO instances, or YouTube-VIS or OVIS annotations.")]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the pictures; default: images or JPEGImages beside --data.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's number of steps.")]


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
    more: Annotated[
        list[Path] | None, typer.Option(help="Further annotations, such as those of `fewmask label`; may be repeated.")
    ] = None,
    more_images: Annotated[
        list[Path] | None, typer.Option(help="Folder of the pictures of each --more, in the same order.")
    ] = None,
    steps: Steps = None,
    device: Device = "auto",
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """An image segmenter for MinVIS, on labelled pictures or sparsely labelled videos."""
    files = more or []
    if more_images and len(more_images) != len(files):
        raise ConfigError(f"{len(files)} --more but {len(more_images)} --more-images; give one for each, or none")
    read: dict[str, Path | None] = {"--data": data, "--images": images, "--initial": initial}
    read |= {f"--more {path}": path for path in files}
    request = _request(recipe, out, steps, device, resume, read)
    if start_from is not None:
        check_weights(start_from)
    from fewmask.pipelines.train import train_minvis

    folders: list[Path | None] = [*more_images] if more_images else [None] * len(files)
    pairs = list(zip(files, folders, strict=True))
    _finish(
        out,
        as_json,
        lambda: train_minvis(
            request, data, images=images, initial=initial, start_from=start_from, frames=frames, more=pairs
        ),
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
    start_from: Annotated[
        str | None, typer.Option(help="Go on from small (the bundled weights) or a weights folder, backbone included.")
    ] = None,
    novel: Annotated[list[str] | None, typer.Option(help="A class training must not see; may be repeated.")] = None,
    iou_data: Annotated[
        Path | None, typer.Option(help="Pictures whose noisy true masks teach IoUNet, in place of those of --data.")
    ] = None,
    steps: Steps = None,
    device: Device = "auto",
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """A few-shot network, on pictures or videos of many classes."""
    files = {"--data": data, "--backbone": backbone, "--images": images, "--iou-data": iou_data}
    request = _request(recipe, out, steps, device, resume, files | {f"--also {path}": path for path in also or ()})
    from fewmask.pipelines.train import train_vipmt

    _finish(
        out,
        as_json,
        lambda: train_vipmt(
            request,
            data,
            backbone,
            images=images,
            novel=novel or (),
            also=also or (),
            start_from=start_from,
            iou_data=iou_data,
        ),
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
    as_json: Json = False,
) -> None:
    """The transformer that segments what a query and its supports have in common, on labelled videos."""
    request = _request(
        recipe,
        out,
        steps,
        device,
        resume,
        {"--data": data, "--images": images, "--initial": initial, "--held-out": held_out},
    )
    from fewmask.pipelines.train import train_selfshot

    _finish(out, as_json, lambda: train_selfshot(request, data, images=images, initial=initial, held_out=held_out))


@app.command("clip-encoder")
def clip_encoder(
    recipe: RecipeFile,
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Unlabelled videos, or folders of them.")],
    out: Out,
    initial: Annotated[Path | None, typer.Option(help="Checkpoint for its backbone.")] = None,
    steps: Steps = None,
    device: Device = "auto",
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """The embedding by which a video finds its relatives, on unlabelled videos."""
    files = {"--initial": initial, **{f"VIDEO {number}": path for number, path in enumerate(videos, 1)}}
    request = _request(recipe, out, steps, device, resume, files)
    from fewmask.pipelines.train import train_clip_encoder

    _finish(out, as_json, lambda: train_clip_encoder(request, videos, initial=initial))


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
    as_json: Json = False,
) -> None:
    """The foreground network of mining, on labelled pictures."""
    files = {"--data": data, "--images": images, "--initial": initial}
    request = _request(recipe, out, steps, device, resume, files)
    from fewmask.pipelines.train import train_background

    _finish(
        out,
        as_json,
        lambda: train_background(
            request, data, images=images, hold_out=hold_out, imagenet=imagenet, initial=initial, require=require
        ),
    )


@app.command()
def maskrcnn(
    recipe: RecipeFile,
    data: Data,
    out: Out,
    images: Images = None,
    hold_out: Annotated[int, typer.Option(min=0, help="Images whose id it divides are for validation.")] = 0,
    initial: Annotated[
        Path | None,
        typer.Option(help="torchvision's maskrcnn_resnet50_fpn or resnet50 weights, or an earlier model.safetensors."),
    ] = None,
    require: Annotated[
        str | None, typer.Option(help="Only images with this field true in --data, e.g. all80: annotated for all.")
    ] = None,
    steps: Steps = None,
    device: Device = "auto",
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """The paper's proposals for mining: a class-agnostic Mask R-CNN, on labelled pictures."""
    files = {"--data": data, "--images": images, "--initial": initial}
    request = _request(recipe, out, steps, device, resume, files)
    from fewmask.pipelines.train import train_maskrcnn

    _finish(
        out,
        as_json,
        lambda: train_maskrcnn(request, data, images=images, hold_out=hold_out, initial=initial, require=require),
    )


def _request(
    recipe: Path, out: Path, steps: int | None, device: str, resume: bool, files: Mapping[str, Path | None]
) -> TrainRequest:
    """The request, once everything is seen to be there; the import of the networks, which takes seconds, comes next."""
    check_files({"RECIPE": recipe, **files})
    check_device(device)
    if os.environ.get("RANK", "0") == "0":  # under torchrun the first process may have made the folder already
        check_free(out, resume=resume)
    at_once("loading the network")
    return TrainRequest(recipe, out, steps=steps, device=device, resume=resume, report=_show)


def _show(line: "StepReport") -> None:
    losses = "  ".join(f"{name} {value:.3f}" for name, value in (line.losses | line.figures).items())
    left = f"  {line.eta_seconds / 60:.0f} min left" if line.losses else ""
    note(f"step {line.step}/{line.steps}  {losses}{left}")


def _finish(out: Path, as_json: bool, run: Callable[[], dict[str, float]]) -> None:
    figures = run()
    if as_json:
        say_json({"out": out, "figures": figures})
        return
    for name, value in figures.items():
        say(f"{name:<8} {value:.3f}")
    say(f"weights: {out / 'weights'}")
