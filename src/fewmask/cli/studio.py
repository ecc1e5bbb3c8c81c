"""`fewmask studio`: look, correct, show examples, review, browse a pool and run jobs, in the browser."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def studio(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN|DATASET|INDEX|FOLDER...",
            help="What `segment`, `mine` and `index` wrote, videos, or folders of any of them.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Where the studio writes: jobs, examples, results.")] = Path("out/studio"),
    sam: Annotated[
        Path | None,
        typer.Option(help="Masks by a click: a SAM or SAM 2 folder, or MobileSAM safetensors.", metavar="WEIGHTS"),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's own needs --token.")] = (
        "127.0.0.1"
    ),
    token: Annotated[
        str | None, typer.Option(help="A secret of your own instead of a new one, 16 characters or more.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
    json_output: Annotated[bool, typer.Option("--json", help="Print the address as one JSON object.")] = False,
) -> None:
    """Watch and correct results, show examples, review mined masks, browse a pool and run jobs in the browser.

    Works offline, on this machine alone: the printed address holds a secret that lets your browser in.
    """
    from fewmask.studio.serve import StudioRequest, serve

    request = StudioRequest(
        paths or [Path()], out, host=host, port=port, token=token, sam=sam,
        open_browser=browser and sys.stdout.isatty(),
    )  # fmt: skip

    def tell(address: str) -> None:
        # Not by `say`, which hides secrets: to tell this one is what the line is for.
        typer.echo(json.dumps({"address": address}) if json_output else f"studio: {address}")
        if not json_output:
            typer.echo("Ctrl-C stops it; nothing is lost")

    serve(request, tell)
