"""Which videos a dataset tree has: those a text file lists, or the folders that are there."""

import re
from pathlib import Path

from fewmask.datasets.json_file import relative_name
from fewmask.errors import DatasetError
from fewmask.media.file_kinds import folders_in

_LONGEST = 1 << 24  # bytes


def listed_videos(path: Path) -> list[str]:
    """The videos of a list file, one a line, in its order.

    DAVIS 2016 lists a frame and its mask on each line instead; there the video is the folder of the frame.

    Raises:
        DatasetError: missing, too long to be a list, or a name that leaves the dataset.
    """
    try:
        if path.stat().st_size > _LONGEST:
            raise DatasetError(f"{path}: {path.stat().st_size} bytes is too long for a list of videos")
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise DatasetError(f"{path}: list of videos cannot be read ({error.strerror or error})") from error
    names: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        frame = re.fullmatch(r"/?JPEGImages/(?:[^/\s]+/)?([^/\s]+)/[^/\s]+(?:\s.*)?", line.strip())
        name = frame.group(1) if frame else line.strip()
        names[relative_name(name, f"{path}: line {number}")] = None
    return list(names)


def video_folders(folder: Path) -> list[str]:
    """The names of the folders in ``folder``, in natural order; those of file systems left out."""
    return [path.name for path in folders_in(folder)]
