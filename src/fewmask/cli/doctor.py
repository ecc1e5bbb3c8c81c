"""`fewmask doctor`: what works on this machine."""

import typer

from fewmask.cli.console import say, say_json
from fewmask.cli.options import Json


def doctor(as_json: Json = False) -> None:
    """Check devices, codecs, bundled weights and optional parts; exit code 1 when something needed is missing."""
    from fewmask.pipelines.doctor import examine

    checks = examine()
    if as_json:
        say_json({check.name: {"ok": check.ok, "needed": check.needed, "found": check.found} for check in checks})
    else:
        for check in checks:
            mark = "ok  " if check.ok else "FAIL" if check.needed else "-   "
            say(f"{mark} {check.name:<18} {check.found}")
    if any(check.needed and not check.ok for check in checks):
        raise typer.Exit(1)
