"""What DAVIS reports of a value per frame: mean, recall and decay."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError


@dataclass(frozen=True, slots=True)
class FrameStatistics:
    """J or F of one object over the frames of a video."""

    mean: float
    recall: float
    """Share of the frames above 0.5."""
    decay: float | None
    """Mean of the first quarter of the frames minus mean of the last; smaller is better.

    None only with official quirks, where a quarter has no frame.
    """


def frame_statistics(values: npt.ArrayLike, *, official_quirks: bool = False) -> FrameStatistics:
    """Mean, recall and decay of values [T], T >= 1.

    Quarters overlap by one frame and their ends are rounded as in the official toolkit; that toolkit keeps the ends in
    eight bits, which spoils the decay of videos of more than 256 frames, and does so here only with
    ``official_quirks``.

    Raises:
        DatasetError: no value.
    """
    frames = np.asarray(values, dtype=np.float64)
    if frames.ndim != 1 or not len(frames):
        raise DatasetError("statistics need one value per frame and at least one frame")
    ends = np.round(np.linspace(1, len(frames), 5) + 1e-10).astype(np.int64) - 1
    if official_quirks:
        ends = ends % 256
    first, last = frames[ends[0] : ends[1] + 1], frames[ends[3] : ends[4] + 1]
    return FrameStatistics(
        mean=float(frames.mean()),
        recall=float((frames > 0.5).mean()),
        decay=float(first.mean() - last.mean()) if len(first) and len(last) else None,
    )
