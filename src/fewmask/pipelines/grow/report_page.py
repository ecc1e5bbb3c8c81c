"""The report of a run: one page that shows what was found, kept and taught, with the figures and what was skipped.

It loads nothing from elsewhere; pictures are the files of the run beside it, so the folder can be moved as a whole.
"""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fewmask.media.atomic import write_text
from fewmask.pipelines.grow.request import GrowRequest
from fewmask.pipelines.grow.rounds import Round
from fewmask.pipelines.grow.stages import Stage

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1d22; --quiet: #63656f; --line: #d9dae0; --ground: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececf0; --quiet: #9fa1ac; --line: #34353d; --ground: #16171b; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; }
tr + tr { border-top: 1px solid var(--line); } td.n { text-align: right; font-variant-numeric: tabular-nums; }
p.quiet, td.quiet { color: var(--quiet); } img { max-width: 100%; border-radius: 6px; margin: .4rem 0; }
code { font-size: .9em; overflow-wrap: anywhere; }
"""


def write_report(
    out: Path,
    request: GrowRequest,
    mined: Stage,
    groups: Stage,
    rounds: Sequence[Round],
    best: Round | None,
    problems: Mapping[str, str],
) -> Path:
    """Write ``report.html`` and ``report.json`` into ``out``; returns the page.

    Args:
        out: of the run.
        request: as asked.
        mined: the stage.
        groups: the stage.
        rounds: that were done.
        best: whose dataset and weights were taken.
        problems: by video, what could not be read.
    """
    figures = {
        "videos": len(request.videos),
        "mined_tracks": groups.outcome["tracks"],
        "groups": groups.outcome["groups"],
        "rounds": [
            {
                "round": done.number,
                "agreement": done.agreement,
                "best": best is not None and done.number == best.number,
                **{name: dict(stage.outcome) | {"seconds": stage.seconds} for name, stage in done.stages.items()},
            }
            for done in rounds
        ],
        "problems": dict(problems),
    }
    write_text(out / "report.json", json.dumps(figures, indent=1, allow_nan=False))
    parts = [
        f"<h1>{_text(request.name if request.like else 'What these videos show')}</h1>",
        f"<p class=quiet><code>{_text(' '.join(request.command))}</code></p>",
        _overview(request, mined, groups, rounds, best),
        _groups(out, groups),
    ]
    parts += [_round(out, done) for done in rounds]
    parts.append(_problems(problems))
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>fewmask grow: {_text(out.name)}</title><style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
    write_text(out / "report.html", page)
    return out / "report.html"


def _overview(request: GrowRequest, mined: Stage, groups: Stage, rounds: Sequence[Round], best: Round | None) -> str:
    rows = [
        ("videos", len(request.videos), ""),
        ("mined tracks", groups.outcome["tracks"], f"{mined.seconds:.0f} s"),
        ("groups", len(groups.outcome["groups"]), f"{groups.seconds:.0f} s"),
    ]
    body = "".join(f"<tr><td>{name}<td class=n>{value}<td class='n quiet'>{took}" for name, value, took in rows)
    head = "<tr><th>round<th>searched<th>kept masks<th>tracks<th>unknown<th>agreement, held out<th>one id<th>"
    table = ""
    for done in rounds:
        kept = done.stages.get("keep")
        measured = done.stages.get("measure")
        cells = [
            str(done.number),
            str(len(done.stages["find"].outcome["videos"])) if "find" in done.stages else "",
            str(kept.outcome["masks"]) if kept else "",
            str(kept.outcome["tracks"]) if kept else "",
            str(kept.outcome["unknown"]) if kept else "",
            f"{measured.outcome['j']:.3f}" if measured else "",
            f"{measured.outcome['one_id']:.3f}" if measured else "",
            "taken" if best is not None and best.number == done.number else "",
        ]
        table += "<tr>" + "".join(f"<td class=n>{cell}" for cell in cells)
    rounds_table = f"<h2>Rounds</h2><table>{head}{table}</table>" if table else ""
    return f"<table>{body}</table>{rounds_table}"


def _groups(out: Path, groups: Stage) -> str:
    sheets = sorted(groups.folder.glob("group-*.jpg"))
    if not sheets:
        return "<h2>Groups</h2><p>No tracks are alike enough to be a group.</p>"
    pictures = "".join(_picture(out, sheet, f"contact sheet of {sheet.stem}") for sheet in sheets)
    return f"<h2>Groups among the mined tracks</h2>{pictures}"


def _round(out: Path, done: Round) -> str:
    parts = [f"<h2>Round {done.number}</h2>"]
    supports = done.stages["supports"]
    for name, origins in zip(supports.outcome["kinds"], supports.outcome["origins"], strict=True):
        listed = ", ".join(_text(Path(origin).name if "#" not in origin else origin) for origin in origins)
        parts.append(f"<p><b>{_text(name)}</b> was looked for by {len(origins)} examples: "
                     f"<span class=quiet>{listed}</span></p>")  # fmt: skip
    kept = done.stages.get("keep")
    if kept is not None:
        for name, count in kept.outcome["kept"].items():
            parts.append(f"<p>{count} tracks of <b>{_text(name)}</b> were kept.</p>")
        parts += [_picture(out, sheet, "tracks that were kept") for sheet in sorted(kept.folder.glob("kept-*.jpg"))]
    return "".join(parts)


def _problems(problems: Mapping[str, str]) -> str:
    if not problems:
        return ""
    rows = "".join(f"<tr><td>{_text(name)}<td>{_text(why)}" for name, why in sorted(problems.items()))
    return f"<h2>Videos that could not be read whole</h2><table>{rows}</table>"


def _picture(out: Path, path: Path, alt: str) -> str:
    return f"<img src='{_text(path.relative_to(out).as_posix())}' alt='{_text(alt)}' loading=lazy>"


def _text(value: str) -> str:
    return html.escape(value, quote=True)
