"""`fewmask convert`: official checkpoints into folders that this package and transformers read."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.options import Json
from fewmask.pipelines.early_checks import check_files


class Method(StrEnum):
    """Whose checkpoint it is."""

    minvis = "minvis"
    vipmt = "vipmt"


def convert(
    method: Annotated[Method, typer.Argument(help="Whose checkpoint: minvis (any Mask2Former too) or vipmt.")],
    checkpoint: Annotated[Path, typer.Argument(help="Official .pth, .pkl or .safetensors file.", metavar="CKPT")],
    *,
    out: Annotated[Path, typer.Option("--out", help="New folder for the converted model.", metavar="DIR")],
    categories: Annotated[
        Path | None, typer.Option(help="YTVIS or COCO JSON file whose categories name the classes (minvis).")
    ] = None,
    short_side: Annotated[
        int, typer.Option(min=32, help="Pixels of the shorter frame side these weights were trained for (minvis).")
    ] = 360,
    as_json: Json = False,
) -> None:
    """Convert an official checkpoint; every tensor is accounted for in DIR/conversion.json."""
    check_files({"CKPT": checkpoint, "--categories": categories})
    if method is Method.minvis:
        from fewmask.minvis.convert import convert_minvis

        counts = convert_minvis(checkpoint, out, categories=categories, short_side=short_side).counts()
    else:
        from fewmask.vipmt.convert import convert_checkpoint

        report = convert_checkpoint(checkpoint, out)
        counts = {"copied": len(report.converted), "unused": len(report.unused)}
    if as_json:
        typer.echo(json.dumps({"folder": str(out), "report": str(out / "conversion.json"), "tensors": counts}))
    else:
        summary = ", ".join(f"{count} {action}" for action, count in counts.items() if count)
        typer.echo(f"{out}: converted ({summary}); every tensor is listed in {out / 'conversion.json'}")
