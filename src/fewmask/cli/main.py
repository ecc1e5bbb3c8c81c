"""The `fewmask` command: one verb per file, errors of the user in one line with exit code 2."""

import io
import os
import sys
from importlib import import_module
from typing import Any

import typer

import fewmask
from fewmask.addresses import showable_text
from fewmask.errors import FewmaskError
from fewmask.media import stopping

# Verb -> (module, attribute); an attribute that is a typer app has sub-commands.
VERBS = {
    "demo": ("demo", "demo"),
    "segment": ("segment", "segment"),
    "many": ("many", "app"),
    "index": ("index", "index"),
    "retrieve": ("retrieve", "retrieve"),
    "mine": ("mine", "mine"),
    "grow": ("grow", "grow"),
    "label": ("label", "label"),
    "train": ("train", "app"),
    "eval": ("eval", "app"),
    "benchmark": ("benchmark", "benchmark"),
    "synth": ("synth", "synth"),
    "convert": ("convert", "convert"),
    "convert-data": ("convert_data", "convert_data"),
    "export": ("export", "export"),
    "export-model": ("export_model", "export_model"),
    "studio": ("studio", "studio"),
    "doctor": ("doctor", "doctor"),
}

_INTERRUPTED = 130

# Typer uses the click package or, since 0.26, a copy of its own: two classes of one name, told by Typer's own errors.
_UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Segment and track objects in video from few masks, or none.",
)


@app.callback(invoke_without_command=True)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Options before the verb."""
    if debug:
        os.environ["FEWMASK_DEBUG"] = "1"
    if version:
        typer.echo(fewmask.__version__)
        raise typer.Exit


for _verb, (_module, _attribute) in VERBS.items():
    _target = getattr(import_module(f"fewmask.cli.{_module}"), _attribute)
    if isinstance(_target, typer.Typer):
        app.add_typer(_target, name=_verb)
    else:
        app.command(name=_verb)(_target)


def main() -> None:
    """Run the command line; never returns. `fewmask.cli.start` is the entry point."""
    _let_any_name_through()
    try:
        code = app(standalone_mode=False)
    except FewmaskError as error:
        if os.environ.get("FEWMASK_DEBUG"):
            raise
        sys.stderr.write(f"fewmask: {showable_text(str(error))}\n")
        code = 2
    except _UsageError as error:
        error.show()
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the reader is gone, nothing is left to say
        code = 0
    except (OSError, MemoryError) as error:  # a full disk, a folder taken away: of the machine, not of the code
        if os.environ.get("FEWMASK_DEBUG"):
            raise
        sys.stderr.write(f"fewmask: {showable_text(_in_words(error))}\n")
        code = 2
    if code == _INTERRUPTED:  # Typer makes this exit code of KeyboardInterrupt
        stopping.say_stopped()
        code = stopping.exit_code()
    sys.exit(code if isinstance(code, int) else 0)


def _let_any_name_through() -> None:
    """Print names of files that are no UTF-8 as the bytes they are; a terminal of another encoding gets escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def _in_words(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; use smaller pictures, batches or fewer workers"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}".splitlines()[0]
