"""Predicted and true label maps side by side: two folders of videos, each a folder of label maps of one name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewmask.datasets.label_maps import VOID
from fewmask.datasets.label_videos import label_files
from fewmask.datasets.mask_pictures import read_label_map
from fewmask.datasets.video_list import video_folders
from fewmask.errors import DatasetError

Labels = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """One video and where its label maps lie; nothing is read yet."""

    name: str
    gt: tuple[Path, ...]
    pred: tuple[Path, ...]

    def frames(self) -> Iterator[tuple[Labels, Labels]]:
        """(predicted, true) labels [H, W] of each frame, read when asked for.

        Raises:
            DatasetError: a label map is missing, unreadable, or of another size than the true one.
        """
        for gt, pred in zip(self.gt, self.pred, strict=True):
            labels = read_label_map(gt)
            yield read_label_map(pred, size=(labels.shape[0], labels.shape[1])), labels

    def without_ends(self) -> "LabelledVideo":
        """The video without its first and its last frame."""
        return LabelledVideo(self.name, self.gt[1:-1], self.pred[1:-1])

    def has_one_object(self) -> bool:
        """Whether the true label maps hold only 0 and 255: then 255 is the object; else 255 is void."""
        found = False
        for path in self.gt:
            labels = read_label_map(path)
            if not np.isin(labels, (0, VOID)).all():
                return False
            found = found or bool(labels.any())
        return found


def labelled_videos(gt: Path, pred: Path) -> list[LabelledVideo]:
    """Every video of ``gt`` with its prediction; a folder with PNGs directly in it is one video.

    Raises:
        DatasetError: a folder is missing or empty, or a video has no prediction.
    """
    for folder in (gt, pred):
        if not folder.is_dir():
            raise DatasetError(f"{folder}: folder is missing")
    for folder in (gt, pred):
        if (folder / "Annotations").is_dir():
            raise DatasetError(f"{folder}: a DAVIS tree; give its folder of label maps, as Annotations/480p")
    if label_files(gt):
        return [_video(gt.name, gt, pred)]
    names = video_folders(gt)
    if not names:
        raise DatasetError(f"{gt}: no video folders and no label maps there")
    missing = [name for name in names if not (pred / name).is_dir()]
    if missing:
        raise DatasetError(
            f"{pred}: no folder for video {missing[0]!r}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
        )
    return [_video(name, gt / name, pred / name) for name in names]


def _video(name: str, gt: Path, pred: Path) -> LabelledVideo:
    files = label_files(gt)
    if not files:
        raise DatasetError(f"{gt}: no label maps there")
    there = {path.stem: path for path in label_files(pred)}
    return LabelledVideo(name, tuple(files), tuple(there.get(path.stem, pred / path.name) for path in files))
