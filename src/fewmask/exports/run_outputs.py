"""What a run that segments a video leaves behind, whichever method did it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fewmask.errors import ConfigError
from fewmask.exports.cvat import cvat_labels
from fewmask.exports.label_studio import label_studio_config
from fewmask.exports.video_result import VideoResult
from fewmask.media.atomic import write_text
from fewmask.media.hidden_tracks import NOTHING, Hidden

FRAMES = ("label-studio", "frames")
"""Exports that come with ``images/NAME/00000.jpg``, ...: Label Studio paints masks on pictures, not in videos."""


@dataclass(frozen=True)
class Outputs:
    """What a run leaves beside ``tracks.json``.

    Attributes:
        overlay: write ``overlay.mp4``.
        masks: write palette PNGs into ``masks/``, named as the pictures of a folder, else 00000.png, ...
        exports: of `EXPORTS`, repetitions count once; these hold all masks of a video in memory, as run lengths.
        min_score: tracks below it are in ``tracks.json`` only.
        scores: write them at the tracks of the overlay.
        all_tracks: draw also those that are inside a better one or tiny (`fewmask.media.hidden_tracks`).
        min_share: so are tracks whose scores sum up to less than this share of the most of their class.

    Raises:
        ConfigError: an unknown export.
    """

    overlay: bool = True
    masks: bool = True
    exports: tuple[str, ...] = ()
    min_score: float = 0.3
    scores: bool = False
    all_tracks: bool = False
    min_share: float = 0.0

    @property
    def frames(self) -> bool:
        """Whether an export needs the frames as pictures."""
        return any(export in FRAMES for export in self.exports)

    def __post_init__(self) -> None:
        unknown = [export for export in self.exports if export not in EXPORTS]
        if unknown:
            raise ConfigError(f"export {unknown[0]!r} is unknown; choose from {', '.join(EXPORTS)}")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the files, for the manifest; a run whose ids were given otherwise is not resumed."""
        return {**asdict(self), "track_ids": "in order of appearance"}


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        frames: length of the video.
        tracks: with at least ``min_score``.
        files: that were written.
        hidden: which of the tracks the overlay leaves out.
    """

    frames: int
    tracks: int
    files: tuple[Path, ...]
    hidden: Hidden = NOTHING


def write_exports(video: VideoResult, source: str, folder: Path, exports: tuple[str, ...]) -> list[Path]:
    """Annotation files for other tools; returns their paths.

    Raises:
        FewmaskError: the folder cannot be written.
    """
    files = []
    for export in dict.fromkeys(exports):
        for name, text in EXPORTS[export](video, source, folder.name).items():
            write_text(folder / name, text)
            files.append(folder / name)
    return files


def _cvat(video: VideoResult, *_: str) -> dict[str, str]:
    return {"cvat.xml": video.to_cvat(), "cvat_labels.json": json.dumps(cvat_labels(video))}


def _cvat_masks(video: VideoResult, *_: str) -> dict[str, str]:
    return {"cvat_masks.xml": video.to_cvat(exact=True), "cvat_labels.json": json.dumps(cvat_labels(video))}


def _label_studio(video: VideoResult, source: str, run: str) -> dict[str, str]:
    pictures = replace(video, file_names=None)  # the written frames, whatever the source's own are called
    place = f"/data/local-files/?d={quote(run)}/images/{quote(video.name)}"
    return {
        "label_studio.json": json.dumps(pictures.to_label_studio(source, frames_url=place)),
        "label_studio.xml": label_studio_config(video),
    }


def _label_studio_boxes(video: VideoResult, source: str, _: str) -> dict[str, str]:
    return {
        "label_studio_boxes.json": json.dumps(video.to_label_studio(source)),
        "label_studio_boxes.xml": label_studio_config(video, boxes=True),
    }


EXPORTS: dict[str, Callable[[VideoResult, str, str], dict[str, str]]] = {
    "cvat": _cvat,
    "cvat-masks": _cvat_masks,
    "label-studio": _label_studio,
    "label-studio-boxes": _label_studio_boxes,
    "coco": lambda video, *_: {"coco.json": json.dumps(video.to_coco())},
    "frames": lambda *_: {},
}
"""Export -> what makes its files: video, address of the source and name of the run directory -> text by file name."""
