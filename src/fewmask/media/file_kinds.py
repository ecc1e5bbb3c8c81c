"""What lies in users' folders: which files are pictures, which are videos, and which are litter of file systems."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".jp2",
    ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
})  # fmt: skip
"""Files that Pillow reads as pictures; TIFF, PNG and WebP may hold several (see picture_stack.py)."""

VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".mk3d", ".webm", ".avi", ".divx", ".gif",
    ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".m2p", ".mp2v", ".mpv", ".vob", ".ogv", ".ogm", ".ogx",
    ".ts", ".tts", ".trp", ".tp", ".m2t", ".m2ts", ".mts",  # broadcast and AVCHD
    ".mod", ".tod", ".dv", ".dif", ".mxf", ".gxf", ".mj2", ".mjpg", ".mjpeg",  # camcorders and studios
    ".3gp", ".3g2", ".3gpp", ".3gp2", ".amv", ".insv", ".lrv", ".360",  # telephones and action cameras
    ".wmv", ".asf", ".wm", ".wtv", ".dvr-ms", ".flv", ".f4v", ".rm", ".rmvb", ".nut", ".ivf", ".y4m",
    ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".av1", ".obu", ".dav",  # bare streams and recorders
})  # fmt: skip
"""Files in a folder that are taken for videos; a file named by the user is opened whatever its suffix."""

_LITTER = frozenset({
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "folder.jpg:zone.identifier", "icon\r",
    "zbthumbnail.info", "picasa.ini", "pspbrwse.jbf", "iconcache.db", "autorun.inf", "albumartsmall.jpg",
    "__macosx", "@eadir", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", "lost.dir", "network trash folder", "temporary items", "__pycache__",
})  # fmt: skip


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name was left by a file system, a file manager or an editor.

    All names that begin with a dot (._x and .DS_Store of macOS, .nfs, .Trash, .thumbnails, unfinished files), those of
    Windows and of makers of network disks, and editors' ``~$x`` and ``x~``.
    """
    return name.startswith((".", "~$")) or name.endswith(("~", ":Zone.Identifier")) or name.lower() in _LITTER


def natural_key(path: str | Path) -> list[tuple[int, str]]:
    """Sort key under which numbers in a path count as numbers: frame2 before frame10."""
    pieces = re.split(r"(\d+)", str(path))
    # A number comes before text; numbers of equal value are told apart by the last element.
    keyed = [(int(piece), "") if piece.isdecimal() and piece.isascii() else (-1, piece.lower()) for piece in pieces]
    return [*keyed, (-1, str(path))]


def entries(folder: Path) -> list[Path]:
    """Files and folders directly in ``folder`` in natural order, litter left out.

    Raises:
        OSError: the folder cannot be read.
    """
    found = (path for path in folder.iterdir() if not is_litter(path.name))
    return sorted(found, key=lambda path: natural_key(path.name))


def files_in(folder: Path, suffixes: frozenset[str] | set[str]) -> list[Path]:
    """The files directly in ``folder`` with one of these suffixes (lower case, with the dot), in natural order.

    Raises:
        OSError: the folder cannot be read.
    """
    return [path for path in entries(folder) if path.suffix.lower() in suffixes and path.is_file()]


def files_below(folder: Path, suffixes: frozenset[str] | set[str]) -> list[Path]:
    """The same with all folders below, those of litter left out; links to folders are not followed."""
    return sorted(_walk(folder, suffixes), key=natural_key)


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in ``folder`` in natural order, litter left out.

    Raises:
        OSError: the folder cannot be read.
    """
    return [path for path in entries(folder) if path.is_dir()]


def _walk(folder: Path, suffixes: frozenset[str] | set[str]) -> Iterator[Path]:
    for where, below, names in os.walk(folder):
        below[:] = [name for name in below if not is_litter(name)]
        for name in names:
            path = Path(where, name)
            if not is_litter(name) and path.suffix.lower() in suffixes and path.is_file():
                yield path
