"""`fewmask export-model`: a network as an ONNX or OpenVINO file."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fewmask.cli.console import say, say_json
from fewmask.cli.options import Json
from fewmask.errors import ConfigError


class Form(StrEnum):
    """What the file is for."""

    onnx = "onnx"
    openvino = "openvino"


def export_model(
    weights: Annotated[str, typer.Argument(help="small or mask2former (bundled), or the folder of such a network.")],
    *,
    form: Annotated[Form, typer.Option("--format", help="onnx or openvino.")],
    out: Annotated[Path, typer.Option("--out", help="File to write: .onnx, or .xml of OpenVINO.", metavar="FILE")],
    size: Annotated[
        str, typer.Option(help="Input as WIDTHxHEIGHT, multiples of 32; by default 16:9.", metavar="WxH")
    ] = "",
    batch: Annotated[int, typer.Option(min=1, help="Frames per call.")] = 1,
    as_json: Json = False,
) -> None:
    """Convert a network for other runtimes; FILE.json says what goes in and comes out.

    `fewmask segment --runtime` needs no such file: it converts for the size of the video by itself.
    """
    wanted = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if size and wanted is None:
        raise ConfigError(f"--size {size!r} must be WIDTHxHEIGHT, as 480x256")
    from fewmask.pipelines.export_model import export_model as export

    sides = None if wanted is None else (int(wanted[2]), int(wanted[1]))
    done = export(weights, out, form.value, size=sides, batch=batch)
    if as_json:
        say_json({"files": list(done.files), "shape": list(done.shape)})
        return
    say(f"input {' x '.join(map(str, done.shape))}")
    for path in done.files:
        say(f"  {path}")
