"""What a user means by naming folders where videos are wanted: the videos in them, or the folders of frames."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from fewmask.addresses import is_address, showable
from fewmask.errors import VideoError
from fewmask.media.file_kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES, entries, files_below, files_in, folders_in
from fewmask.media.given_path import expanded, is_there


def find_videos(paths: Sequence[str | Path]) -> list[Path]:
    """The videos that files and folders stand for, each once, in their order; each is what `open_frames` takes.

    A folder stands for all videos in and below it. Where it holds none, for every folder of frames in and below it,
    and for every file of several pictures (TIFF, WebP) there. Litter of file systems is left out.

    Raises:
        VideoError: a path does not exist, or a folder holds neither videos nor pictures.
    """
    found: list[Path] = []
    for path in map(expanded, paths):
        if not is_there(path):
            raise VideoError(f"{showable(str(path))}: no such file or folder; check the path")
        found += videos_in(path) if path.is_dir() else [path]
    return list({path.resolve(): path for path in found}.values())


def find_sources(sources: Sequence[str | Path]) -> list[str | Path]:
    """The same where addresses, camera numbers and patterns may be given too.

    A pattern that matches videos stands for them; one of images is one video and stays as it is, as does what is not
    there: whoever opens it says so.

    Raises:
        VideoError: a folder holds neither videos nor pictures.
    """
    found: dict[str, str | Path] = {}
    for source in sources:
        path = expanded(source)
        if not is_address(source) and is_there(path):
            inside: Sequence[str | Path] = find_videos([path])
        elif not is_address(source) and glob.has_magic(str(source)):
            inside = _matches(path) or [source]
        else:
            inside = [source]
        found |= {str(one if isinstance(one, str) else one.resolve()): one for one in inside}
    return list(found.values())


def videos_in(folder: Path) -> list[Path]:
    """The videos in and below a folder, or else its folders and files of frames, in natural order.

    Raises:
        VideoError: there is neither, or the folder cannot be read.
    """
    try:
        found = files_below(folder, VIDEO_SUFFIXES) or _of_frames(folder)
        if found:
            return found
        others = [path.name for path in entries(folder)]
    except OSError as error:
        raise VideoError(f"{folder}: cannot be read ({error.strerror}); check that you may") from error
    if not others:
        raise VideoError(f"{folder}: an empty folder; give videos, or folders that hold some")
    raise VideoError(
        f"{folder}: holds neither videos nor pictures ({', '.join(others[:3])}, {len(others)} in all); give files one "
        "by one if their names do not tell what they are"
    )


def _of_frames(folder: Path) -> list[Path]:
    from fewmask.media.picture_stack import is_stack

    pictures = files_in(folder, IMAGE_SUFFIXES)
    below = [path for inner in folders_in(folder) if os.access(inner, os.R_OK) for path in _of_frames(inner)]
    if pictures and is_stack(pictures[0]):
        return [path for path in pictures if is_stack(path)] + below
    return [folder, *below] if len(pictures) > 1 or (pictures and not below) else below


def _matches(pattern: Path) -> list[str | Path]:
    matches = [Path(match) for match in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207 - absolute patterns
    return [path for path in sorted(matches) if path.suffix.lower() in VIDEO_SUFFIXES]
