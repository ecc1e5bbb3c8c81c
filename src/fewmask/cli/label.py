"""`fewmask label`: let a teacher label pictures or videos."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import Progress, counted, note, say, say_json
from fewmask.cli.options import Device, Json, Out, Resume
from fewmask.pipelines.early_checks import check_device, check_files, check_free, check_weights


class OutputLayout(StrEnum):
    """How a detector gives its boxes."""

    auto = "auto"
    yolox = "yolox"
    yolov5 = "yolov5"
    yolov8 = "yolov8"


def label(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="A folder of pictures, or videos.", show_default=False)
    ],
    *,
    teacher: Annotated[
        Path, typer.Option(help="A YOLO-like detector in ONNX.", metavar="FILE.onnx", show_default=False)
    ],
    masks: Annotated[
        str, typer.Option(help="What draws its boxes: MobileSAM's file, a folder or hub name of a SAM.", metavar="SAM")
    ],
    out: Out,
    frames: Annotated[bool, typer.Option("--frames", help="Folders of pictures are videos.")] = False,
    every: Annotated[int, typer.Option(min=1, help="Of a video every so many-th frame.", metavar="N")] = 10,
    names: Annotated[
        Path | None, typer.Option(help="Class names, one a line; COCO's for 80 classes.", metavar="FILE")
    ] = None,
    layout: Annotated[OutputLayout, typer.Option(help="Of the detector's output; auto goes by its shape.")] = (
        OutputLayout.auto
    ),
    score: Annotated[float, typer.Option(min=0, max=1, help="Detector's score from which an object is sure.")] = 0.4,
    quality: Annotated[float, typer.Option(min=0, max=1, help="Mask quality from which it is sure.")] = 0.75,
    doubt: Annotated[
        float, typer.Option(min=0, max=1, help="Score from which what is not sure is unknown, not background.")
    ] = 0.12,
    side: Annotated[int, typer.Option(min=64, help="Longer side of MobileSAM's input.")] = 512,
    device: Device = "auto",
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Label pictures (COCO) or videos (YouTube-VIS) with a teacher; what it is unsure of is marked as unknown."""
    check_files({"--teacher": teacher, "--names": names})
    check_weights(masks)
    check_device(device)
    check_free(out, resume=resume)
    from fewmask.models.device import resolve_device
    from fewmask.models.onnx_detector import Layout
    from fewmask.pipelines.label import LabelRequest, run_label
    from fewmask.pipelines.teacher import Certainty

    layouts: dict[str, Layout] = {"yolox": "yolox", "yolov5": "yolov5", "yolov8": "yolov8"}
    request = LabelRequest(
        sources, out, teacher, masks, layout=layouts.get(layout.value), names=names,
        videos=frames, every=every, certainty=Certainty(score, quality, doubt), side=side,
        device=str(resolve_device(device)), resume=resume, command=sys.argv,
    )  # fmt: skip
    with Progress("pictures", quiet=as_json, first="loading the teacher") as progress:
        done = run_label(request, progress)
    for name in done.skipped:
        note(f"{name}: not a readable picture, left out")
    if as_json:
        say_json({
            "pictures": done.pictures, "objects": done.objects, "doubts": done.doubts,
            "annotations": str(done.annotations),
        })  # fmt: skip
        return
    say(f"{counted(done.pictures, 'picture')}, {counted(done.objects, 'object')}, "
        f"{counted(done.doubts, 'unknown region')}: {done.annotations}")  # fmt: skip
