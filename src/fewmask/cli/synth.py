"""`fewmask synth`: copy-paste videos with exact masks, from any COCO-format dataset."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import Progress, counted, say, say_json
from fewmask.cli.options import Json
from fewmask.pipelines.early_checks import check_files


class Occlusion(StrEnum):
    """How often objects hide one another."""

    light = "light"
    heavy = "heavy"


class BackgroundRule(StrEnum):
    """What becomes of the objects that a background image shows."""

    inpaint = "inpaint"
    clean = "clean"
    label = "label"


class Part(StrEnum):
    """Which of the source images."""

    all = "all"
    train = "train"
    val = "val"


class VideoFormat(StrEnum):
    """How frames are stored."""

    jpg = "jpg"
    mp4 = "mp4"


def synth(
    *,
    coco: Annotated[Path, typer.Option("--from", help="COCO instances file to cut objects from.", metavar="COCO.json")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the videos.", metavar="DIR")],
    videos: Annotated[int, typer.Option(min=1, help="How many videos.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images; by default images/ beside the file.", metavar="DIR")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    frames: Annotated[int, typer.Option(min=1, help="Frames per video.")] = 24,
    shots: Annotated[
        int, typer.Option(min=1, help="Shots per video; each shows its objects before another background.")
    ] = 1,
    size: Annotated[str, typer.Option(help="Frame size in pixels.", metavar="HxW")] = "192x320",
    objects: Annotated[str, typer.Option(help="Objects per video.", metavar="MIN-MAX")] = "2-6",
    object_size: Annotated[
        str, typer.Option(help="Longer side of an object over the shorter side of the frame.", metavar="MIN-MAX")
    ] = "0.25-0.85",
    classes_per_video: Annotated[
        str, typer.Option(help="Classes that the objects of a video are drawn from.", metavar="MIN-MAX")
    ] = "1-3",
    occlusion: Annotated[Occlusion, typer.Option(help="How often objects hide one another.")] = Occlusion.light,
    classes: Annotated[
        str | None, typer.Option(help="Only these classes: names or ids, separated by commas.", metavar="LIST")
    ] = None,
    hold_out_classes: Annotated[
        str | None, typer.Option(help="Never these classes: names or ids, separated by commas.", metavar="LIST")
    ] = None,
    part: Annotated[Part, typer.Option(help="Source images: train and val are disjoint.")] = Part.all,
    background: Annotated[
        BackgroundRule,
        typer.Option(help="A background's own objects: painted over, avoided, or labelled as tracks too."),
    ] = BackgroundRule.inpaint,
    camera: Annotated[float, typer.Option(min=0, max=3, help="Strength of camera motion; 0 is still.")] = 1.0,
    motion: Annotated[float, typer.Option(min=0, max=3, help="Speed of the objects; 0 is still.")] = 1.0,
    deformation: Annotated[float, typer.Option(min=0, max=3, help="Elastic deformation; 0 is rigid.")] = 1.0,
    min_side: Annotated[
        float, typer.Option(min=1, help="Smallest object cut out: square root of its area in pixels.")
    ] = 32.0,
    class_agnostic: Annotated[bool, typer.Option("--class-agnostic", help="Write one category, 'object'.")] = False,
    video_format: Annotated[
        VideoFormat, typer.Option("--format", help="Frames in folders, or files.")
    ] = VideoFormat.jpg,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an earlier run; --videos may grow.")] = False,
    as_json: Json = False,
) -> None:
    """Make videos of real objects moving over real images, with exact masks, ids, classes and occlusion."""
    from fewmask.datasets.synth import SynthConfig, synthesise

    height, width = _two_numbers(size, "x", "--size")
    config = SynthConfig(
        frames=frames,
        shots=shots,
        height=height,
        width=width,
        objects=_two_numbers(objects, "-", "--objects"),
        object_size=_two_sizes(object_size, "--object-size"),
        classes_per_video=_two_numbers(classes_per_video, "-", "--classes-per-video"),
        occlusion=occlusion.value,
        background=background.value,
        camera=camera,
        motion=motion,
        deformation=deformation,
    )
    check_files({"--from": coco, "--images": images})
    with Progress("videos", quiet=as_json) as progress:
        path = synthesise(
            coco,
            images,
            out,
            videos=videos,
            seed=seed,
            config=config,
            classes=None if classes is None else _names(classes),
            hold_out_classes=_names(hold_out_classes or ""),
            part=part.value,
            min_side=min_side,
            class_agnostic=class_agnostic,
            video_format=video_format.value,
            workers=workers,
            resume=resume,
            progress=progress,
        )
    if as_json:
        say_json({"annotations": str(path), "videos": videos, "frames": videos * frames})
    else:
        say(f"{path}: {counted(videos, 'video')} of {counted(frames, 'frame')}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _two_numbers(text: str, separator: str, option: str) -> tuple[int, int]:
    found = re.fullmatch(rf"(\d{{1,6}}){separator}(\d{{1,6}})", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not two numbers as in {option} 2{separator}6", param_hint=option)
    return int(found[1]), int(found[2])


def _two_sizes(text: str, option: str) -> tuple[float, float]:
    found = re.fullmatch(r"(\d{1,2}(?:\.\d{1,6})?)-(\d{1,2}(?:\.\d{1,6})?)", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not two sizes as in {option} 0.25-0.85", param_hint=option)
    return float(found[1]), float(found[2])
