"""`fewmask convert-data`: one dataset format into another."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.options import Json
from fewmask.pipelines.early_checks import check_files


class DataFormat(StrEnum):
    """Formats that are read; all but the last three are written too."""

    ytvis = "ytvis"
    coco = "coco"
    davis = "davis"
    vspw = "vspw"
    folders = "folders"
    labelme = "labelme"
    cvat = "cvat"
    label_studio = "label-studio"


class DavisTask(StrEnum):
    """Which annotations of a DAVIS tree."""

    semi_supervised = "semi-supervised"
    unsupervised = "unsupervised"


class Frames(StrEnum):
    """What becomes of the pictures when a folder tree is written."""

    copy = "copy"
    link = "link"
    none = "none"


class Split(StrEnum):
    """Published splits, where the paper is silent by our written-down rules."""

    self_vis = "self-vis"
    self_ovis = "self-ovis"
    unseen_vis = "unseen-vis"
    fsvos = "fsvos"


class Overlap(StrEnum):
    """What to do where masks overlap and the target gives each pixel to one object."""

    refuse = "refuse"
    smaller = "smaller"


def convert_data(
    source: Annotated[Path, typer.Argument(help="Dataset file or folder to read.", metavar="A")],
    target: Annotated[Path, typer.Argument(help="File or folder to make.", metavar="B")],
    *,
    source_format: Annotated[DataFormat | None, typer.Option("--from", help="What A is; recognised by itself.")] = None,
    target_format: Annotated[
        DataFormat | None,
        typer.Option("--to", help="What B becomes; for a .json file ytvis, or coco from ytvis and labelme."),
    ] = None,
    subset: Annotated[
        str | None, typer.Option(help="List of videos of a DAVIS or VSPW tree: train, val, ...", metavar="NAME")
    ] = None,
    task: Annotated[DavisTask | None, typer.Option(help="Which annotations of a DAVIS tree.")] = None,
    resolution: Annotated[str | None, typer.Option(help="DAVIS folder of the resolution.", metavar="NAME")] = None,
    category: Annotated[str, typer.Option(help="Class name for sources without classes.", metavar="NAME")] = "object",
    frames_root: Annotated[
        Path | None, typer.Option(help="Folder that the file names in A are relative to.", metavar="DIR")
    ] = None,
    frames: Annotated[
        Frames, typer.Option(help="Pictures of a written tree: copied, hard-linked, or none.")
    ] = Frames.copy,
    overlap: Annotated[
        Overlap, typer.Option(help="Overlapping masks in a label map: refuse, or the smaller one wins.")
    ] = Overlap.refuse,
    single_frames: Annotated[
        bool, typer.Option("--single-frames", help="Every picture is a video of one frame.")
    ] = False,
    drop_classes: Annotated[
        bool, typer.Option("--drop-classes", help="Allow a target without classes where A has several.")
    ] = False,
    split: Annotated[
        Split | None, typer.Option(help="Make B the folder of this split's files of a YouTube-VIS or OVIS file A.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert a dataset, as far as the information goes; what would be lost is refused or named."""
    from fewmask.cli.console import counted, note, say, say_json

    check_files({"A": source, "--frames-root": frames_root})
    if split is not None:
        from fewmask.datasets.split_files import write_split

        parts = write_split(split.value, source, target)
        if as_json:
            say_json({"split": split.value, "target": str(target), "files": parts})
            return
        for name, size in parts.items():
            say(f"{target / name}: {size}")
        return
    from fewmask.datasets.convert import ConvertOptions, convert_data

    done = convert_data(
        source,
        target,
        source_format=None if source_format is None else source_format.value,
        target_format=None if target_format is None else target_format.value,
        options=ConvertOptions(
            subset=subset,
            task=None if task is None else task.value,
            resolution=resolution,
            category=category,
            frames_root=frames_root,
            frames=frames.value,
            overlap=overlap.value,
            single_frames=single_frames,
            drop_classes=drop_classes,
        ),
    )
    for line in done.notes:
        note(f"note: {line}")
    if as_json:
        say_json({**vars(done), "target": str(done.target), "frames_root": str(done.frames_root)})
        return
    held = [] if done.videos is None else [counted(done.videos, "video")]
    held += [counted(done.frames, "frame"), counted(done.objects, "object")]
    say(f"{done.target}: {done.target_format} from {done.source_format}, {', '.join(held)}")
    if done.target.is_file():
        say(f"file names are relative to {done.frames_root}")
