"""A benchmark's figures beside the paper's: rows, tables, JSON and Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Figure = float | None


@dataclass(frozen=True)
class Row:
    """One line of a table, in per cent.

    Attributes:
        name: as the paper calls it.
        figures: ours; None where undefined.
        paper: the paper's of the same names, as far as it has them.
        spread: standard deviation over seeds or runs.
    """

    name: str
    figures: Mapping[str, Figure]
    paper: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """One table; ``note`` says how ours was measured."""

    title: str
    rows: tuple[Row, ...]
    note: str = ""


def mean_row(name: str, repeats: Sequence[Mapping[str, Figure]], paper: Mapping[str, float]) -> Row:
    """Mean and spread over repeats of figures in [0, 1]; a figure that is undefined in one is undefined."""
    figures: dict[str, Figure] = {}
    spread: dict[str, float] = {}
    for key in repeats[0]:
        values = [value for one in repeats if (value := one[key]) is not None]
        complete = len(values) == len(repeats)
        figures[key] = 100 * float(np.mean(values)) if complete else None
        if complete and len(values) > 1:
            spread[key] = 100 * float(np.std(values))
    return Row(name, figures, paper, spread)


def as_json(name: str, tables: Sequence[Table]) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    return {
        "benchmark": name,
        "tables": [
            {
                "title": table.title,
                "note": table.note,
                "rows": [
                    {"name": row.name, "figures": dict(row.figures), "spread": dict(row.spread),
                     "paper": dict(row.paper)}
                    for row in table.rows
                ],
            }
            for table in tables
        ],
    }  # fmt: skip


def as_markdown(name: str, tables: Sequence[Table]) -> str:
    """The tables for people; the paper's figure in brackets behind ours."""
    lines = [f"# {name}", "", "Per cent; the paper's figure in brackets, the spread over seeds or runs behind ±."]
    for table in tables:
        columns = list(dict.fromkeys(key for row in table.rows for key in (*row.figures, *row.paper)))
        lines += ["", f"## {table.title}", ""]
        if table.note:
            lines += [table.note, ""]
        lines += ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
        lines += [f"| {row.name} | " + " | ".join(cell(row, key) for key in columns) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


def cell(row: Row, key: str) -> str:
    """One figure with its spread and the paper's."""
    value = row.figures.get(key)
    text = "–" if value is None else f"{value:.1f}"
    if key in row.spread:
        text += f" ± {row.spread[key]:.1f}"
    return f"{text} [{row.paper[key]:.1f}]" if key in row.paper else text
