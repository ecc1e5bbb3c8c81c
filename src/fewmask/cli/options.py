"""Options that several verbs have: one type each, so that they are spelt, checked and explained alike everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.", rich_help_panel="Run")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out.", rich_help_panel="Run")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel="Run")]
Out = Annotated[
    Path,
    typer.Option("--out", help="Folder for the results; must be empty unless --resume.", metavar="DIR"),
]
