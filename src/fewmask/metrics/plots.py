"""What `fewmask eval --plots` draws: precision over recall, the score of every video, J and F over the frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fewmask.datasets.json_file import relative_name
from fewmask.media.atomic import write_text
from fewmask.metrics.davis import ObjectScores
from fewmask.metrics.precision_recall import RECALL_GRID, PrecisionRecall
from fewmask.metrics.svg import bar_chart, line_chart

_MOST_BARS = 400


def plot_precision_recall(folder: Path, curves: Mapping[str, PrecisionRecall], *, per_category: bool) -> list[Path]:
    """Write precision_recall.svg, the mean over classes, and precision_recall_<category>.svg if asked for."""
    if not curves:
        return []
    drawn = {"": list(curves.values())} | ({f"_{name}": [c] for name, c in curves.items()} if per_category else {})
    paths = []
    for suffix, group in drawn.items():
        precision = np.mean([curve.precision for curve in group], axis=0)  # [thresholds, 101]
        chart = line_chart(
            f"Precision over recall {suffix.removeprefix('_') or '(mean over classes)'}",
            "recall",
            "precision",
            RECALL_GRID.tolist(),
            {
                "IoU 0.50": precision[0].tolist(),
                "IoU 0.75": precision[5].tolist(),
                "mean 0.50 to 0.95": precision.mean(axis=0).tolist(),
            },
        )
        paths.append(_write(folder, f"precision_recall{suffix}.svg", chart))
    return paths


def plot_videos(folder: Path, title: str, scores: Mapping[str, float]) -> list[Path]:
    """Write videos.svg: one bar per video, the worst first (at most 400)."""
    worst = sorted(scores.items(), key=lambda item: item[1])[:_MOST_BARS]
    return [_write(folder, "videos.svg", bar_chart(title, dict(worst)))] if worst else []


def plot_frames(folder: Path, scores: Sequence[ObjectScores]) -> list[Path]:
    """Write frames_<video>.svg: J and F over the frames, mean over the objects of the video."""
    videos: dict[str, list[ObjectScores]] = {}
    for score in scores:
        videos.setdefault(score.video, []).append(score)
    paths = []
    for name, objects in videos.items():
        J = np.mean([score.J_per_frame for score in objects], axis=0)
        F = np.mean([score.F_per_frame for score in objects], axis=0)
        chart = line_chart(
            name, "frame", "J, F", list(range(len(J))), {"region J": J.tolist(), "contour F": F.tolist()}
        )
        paths.append(_write(folder, f"frames_{name}.svg", chart))
    return paths


def _write(folder: Path, name: str, chart: str) -> Path:
    path = folder / relative_name(name.replace("/", "-"), str(folder))
    write_text(path, chart)
    return path
