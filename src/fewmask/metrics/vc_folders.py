"""VC of folders of label maps, under all three definitions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.metrics.label_folders import labelled_videos
from fewmask.metrics.video_consistency import vc_tti, vc_vipmt, vc_vspw_dataset, vspw_windows

Figure = float | None


@dataclass(frozen=True, slots=True)
class VcScores:
    """Each figure in [0, 1] or None where no video is long enough."""

    stats: dict[str, Figure]
    """VC_vipmt and VC_tti: mean over the videos with at least n frames. VC_vspw: mean over all windows."""
    per_video: dict[str, dict[str, Figure]]


def evaluate_vc(
    gt: str | Path,
    pred: str | Path,
    *,
    n: int = 7,
    foreground: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> VcScores:
    """VC_n of two folders with one folder of PNG label maps per video.

    Args:
        gt: true label maps.
        pred: predicted label maps, same names.
        n: frames of a window.
        foreground: the label that VIPMT's and TTI's definitions look at; by default everything but 0.
        progress: called with (done, total) after every video.

    Raises:
        DatasetError: a file is missing or unreadable, sizes differ, or n is less than 1.
    """
    videos = labelled_videos(Path(gt), Path(pred))
    per_video: dict[str, dict[str, Figure]] = {}
    windows = []
    for done, video in enumerate(videos, start=1):
        maps = list(video.frames())
        pred_labels, gt_labels = np.stack([p for p, _ in maps]), np.stack([g for _, g in maps])
        pred_mask, gt_mask = (m != 0 if foreground is None else m == foreground for m in (pred_labels, gt_labels))
        windows.append(vspw_windows(pred_labels, gt_labels, n))
        per_video[video.name] = {
            "VC_vipmt": vc_vipmt(pred_mask, gt_mask, n),
            "VC_tti": vc_tti(pred_mask, gt_mask, n) if len(maps) >= n else None,
            "VC_vspw": vc_vspw_dataset(windows[-1:]),
        }
        if progress is not None:
            progress(done, len(videos))
    stats = {name: _mean([figures[name] for figures in per_video.values()]) for name in ("VC_vipmt", "VC_tti")}
    return VcScores(stats | {"VC_vspw": vc_vspw_dataset(windows)}, per_video)


def _mean(values: list[Figure]) -> Figure:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
