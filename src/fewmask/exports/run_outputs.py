"""What a run that segments a video leaves behind, whichever method did it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewmask.errors import ConfigError
from fewmask.exports.video_result import VideoResult
from fewmask.media.atomic import write_text

EXPORTS = ("cvat", "label-studio", "coco")


@dataclass(frozen=True)
class Outputs:
    """What a run leaves beside ``tracks.json``.

    Attributes:
        overlay: write ``overlay.mp4``.
        masks: write palette PNGs into ``masks/``, named as the pictures of a folder, else 00000.png, ...
        exports: of `EXPORTS`; these hold all masks of a video in memory, as run lengths.
        min_score: tracks below it are in ``tracks.json`` only.

    Raises:
        ConfigError: an unknown export.
    """

    overlay: bool = True
    masks: bool = True
    exports: tuple[str, ...] = ()
    min_score: float = 0.3

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
    """What a run did: length of the video, tracks with at least ``min_score``, and the files written."""

    frames: int
    tracks: int
    files: tuple[Path, ...]


def write_exports(video: VideoResult, source: str, folder: Path, exports: tuple[str, ...]) -> list[Path]:
    """Annotation files for other tools; returns their paths.

    Raises:
        FewmaskError: the folder cannot be written.
    """
    writers: dict[str, tuple[str, Callable[[], str]]] = {
        "cvat": ("cvat.xml", video.to_cvat),
        "label-studio": ("label_studio.json", lambda: json.dumps(video.to_label_studio(source))),
        "coco": ("coco.json", lambda: json.dumps(video.to_coco())),
    }
    files = []
    for export in exports:
        name, text = writers[export]
        write_text(folder / name, text())
        files.append(folder / name)
    return files
