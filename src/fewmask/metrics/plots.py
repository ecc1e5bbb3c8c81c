"""What `fewmask eval --plots` draws: precision over recall, the score of every video, J and F over the frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewmask.datasets.json_file import relative_name
from fewmask.media.atomic import whole_file
from fewmask.metrics.davis import ObjectScores
from fewmask.metrics.precision_recall import RECALL_GRID, PrecisionRecall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_BARS = 400
_STYLE = {"svg.hashsalt": "fewmask", "svg.fonttype": "none", "font.size": 9}  # the same scores give the same bytes


def plot_precision_recall(folder: Path, curves: Mapping[str, PrecisionRecall], *, per_category: bool) -> list[Path]:
    """Write precision_recall.svg, the mean over classes, and precision_recall_<category>.svg if asked for."""
    if not curves:
        return []
    drawn = {"": list(curves.values())} | ({f"_{name}": [c] for name, c in curves.items()} if per_category else {})
    paths = []
    for suffix, group in drawn.items():
        precision = np.mean([curve.precision for curve in group], axis=0)  # [thresholds, 101]
        title = f"Precision over recall {suffix.removeprefix('_') or '(mean over classes)'}"
        curves_of = {"IoU 0.50": precision[0], "IoU 0.75": precision[5], "mean 0.50 to 0.95": precision.mean(axis=0)}
        chart = _lines(title, ("recall", "precision"), RECALL_GRID, curves_of)
        paths.append(_write(folder, f"precision_recall{suffix}.svg", chart))
    return paths


def plot_videos(folder: Path, title: str, scores: Mapping[str, float]) -> list[Path]:
    """Write videos.svg: one bar per video, the worst first (at most 400)."""
    worst = sorted(scores.items(), key=lambda item: item[1])[:_MOST_BARS]
    return [_write(folder, "videos.svg", _bars(title, dict(worst)))] if worst else []


def plot_frames(folder: Path, scores: Sequence[ObjectScores]) -> list[Path]:
    """Write frames_<video>.svg: J and F over the frames, mean over the objects of the video."""
    videos: dict[str, list[ObjectScores]] = {}
    for score in scores:
        videos.setdefault(score.video, []).append(score)
    paths = []
    for name, objects in videos.items():
        J = np.mean([score.J_per_frame for score in objects], axis=0)
        F = np.mean([score.F_per_frame for score in objects], axis=0)
        chart = _lines(name, ("frame", "J, F"), np.arange(len(J)), {"region J": J, "contour F": F})
        paths.append(_write(folder, f"frames_{name}.svg", chart))
    return paths


def _lines(title: str, axes: tuple[str, str], x: Any, curves: Mapping[str, Any]) -> "Figure":
    """Curves with values in [0, 1] over a common axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    plot = figure.subplots()
    for name, values in curves.items():
        plot.plot(x, values, label=name)
    plot.set(ylim=(-0.02, 1.02), xlabel=axes[0], ylabel=axes[1])
    plot.set_title(_printable(title), parse_math=False)
    plot.grid(alpha=0.3)
    plot.legend()
    return figure


def _bars(title: str, bars: Mapping[str, float]) -> "Figure":
    """Horizontal bars with values in [0, 1], the first on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 0.22 * len(bars)), layout="constrained")
    plot = figure.subplots()
    shown = plot.barh(np.arange(len(bars)), [min(max(value, 0.0), 1.0) for value in bars.values()])
    plot.bar_label(shown, [f"{value:.3f}" for value in bars.values()], padding=3)
    plot.set_yticks(np.arange(len(bars)), [_printable(name) for name in bars], parse_math=False)
    plot.set(xlim=(0, 1.1), ylim=(len(bars) - 0.5, -0.5))
    plot.set_title(_printable(title), parse_math=False)
    return figure


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _write(folder: Path, name: str, chart: "Figure") -> Path:
    import matplotlib

    path = folder / relative_name(name.replace("/", "-"), str(folder))
    with matplotlib.rc_context(_STYLE), whole_file(path) as temporary:
        chart.savefig(temporary, format="svg", metadata={"Date": None})
    return path
