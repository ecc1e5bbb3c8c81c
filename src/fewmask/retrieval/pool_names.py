"""Under which name a pool holds a video, and what tells whether the video has changed since."""

import os
from pathlib import Path

from fewmask.addresses import is_address

Video = Path | str
"""A file, a folder of frames, or as text the address of a video in an object store."""


def video_name(video: Video) -> str:
    """Its whole path, links resolved, or its address."""
    return str(video) if is_address(video) else os.path.realpath(video)


def named_video(name: str) -> Video:
    """The video that a pool holds under a name."""
    return name if is_address(name) else Path(name)


def facts_of(video: Video) -> tuple[str, int, int]:
    """Name, size and modification time, which together stand for the content; what an address holds does not change."""
    name = video_name(video)
    if is_address(name):
        return name, 0, 0
    try:
        status = Path(video).stat()
    except OSError:
        return name, 0, 0
    return name, 0 if Path(video).is_dir() else status.st_size, status.st_mtime_ns
