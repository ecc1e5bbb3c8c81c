"""`open_frames`: a video file, folder, glob, list of images, camera or address as one kind of thing, a FrameSource."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from fewmask.addresses import showable
from fewmask.errors import VideoError
from fewmask.media.frame_source import Frame, FrameSource
from fewmask.media.given_path import expanded, is_there

__all__ = ["Frame", "FrameSource", "Source", "open_frames", "opened"]

Source = str | Path | int | Iterable[Any]
"""What `open_frames` takes; an array of NumPy or PyTorch is an iterable too."""
LONGEST_SIDE = 16384
"""Pixels; what H.264 and run-length masks can hold."""
MOST_ELONGATED = 32
"""How many times the longer side may be the shorter one: a network sees the shorter side at a fixed size."""


def open_frames(source: Source, *, start: int = 0, skip_broken: bool = False) -> FrameSource:
    """Open anything that holds frames.

    Args:
        source: a video file, a folder of images (sorted naturally: frame2 before frame10), a glob of images, one file
            of several pictures (multi-page TIFF, APNG, animated WebP), a camera number, an ``rtsp://`` or
            ``http(s)://`` address, a video of an object store (``s3://`` and others, with the extra scale), or a
            sequence of image paths (taken in its order). Or pictures in memory: an array or tensor
            uint8 [H, W, 3] or [T, H, W, 3], red first, or a list or iterator of arrays [H, W, 3].
        start: first frame wanted. Those before it are skipped without converting them; indices stay true and the
            pictures are the same as after a linear decode. At or beyond the end nothing comes. Not for live sources.
        skip_broken: go on after a frame that cannot be decoded and note its index in ``source.broken``; otherwise the
            iterator gives every good frame before it and then raises. What the decoder could only patch up *after*
            a lost frame, until its next key frame, may show traces. Live sources always go on.

    Pictures are turned as their EXIF orientation says. Those of 16 bits are scaled by the fewest of 10, 12, 14 and 16
    bits that hold the brightest value of 16 of them, evenly spread; what is brighter becomes white, and where fewer
    than 16 bits are used the logger "fewmask" says so. Mirrored display matrices and pixel aspect ratios are not
    applied. Formats without an index or a stated size (transport streams, GIF) cannot show that they were cut short:
    they just end.

    Raises:
        VideoError: the source is missing, unreadable, empty or of a type that is none of these; its pictures are larger
            than `LONGEST_SIDE` or longer than `MOST_ELONGATED` times their width. While iterating: a broken or
            unreadable frame, a frame of another size, a file cut short, a lost connection; all frames before it have
            come by then.
    """
    if start < 0:
        raise VideoError(f"start must be 0 or more, not {start}")
    frames = _open(source, start, skip_broken)
    height, width = frames.size
    if max(height, width) > LONGEST_SIDE or max(height, width) > MOST_ELONGATED * min(height, width):
        frames.close()
        raise VideoError(
            f"{frames.name}: frames of {width}x{height} pixels cannot be used; sides may be {LONGEST_SIDE} pixels at "
            f"most, the longer {MOST_ELONGATED} times the shorter: scale or crop them"
        )
    return frames


@contextmanager
def opened(source: "Source | FrameSource") -> Iterator[FrameSource]:
    """An open source for a block: one that is open already stays so, anything else is opened and closed.

    Raises:
        VideoError: as `open_frames`.
    """
    if is_open(source):
        yield source  # type: ignore[misc]
        return
    with open_frames(source) as frames:
        yield frames


def is_open(source: object) -> bool:
    """Whether it is a `FrameSource` rather than something to open."""
    return all(hasattr(source, name) for name in ("estimated_length", "is_live", "size"))


def _open(source: Source, start: int, skip_broken: bool) -> FrameSource:
    if isinstance(source, int) and not isinstance(source, bool):
        from fewmask.media.live import open_camera

        return open_camera(source, start=start)
    if isinstance(source, str | Path):
        return _open_text(source, start, skip_broken)
    from fewmask.media.array_frames import ArrayFrames, is_array, pictures_of_array

    if is_array(source):
        return ArrayFrames(pictures_of_array(source), start=start)
    if isinstance(source, bytes | bytearray | dict | set) or not isinstance(source, Iterable):
        raise VideoError(
            f"a source of type {type(source).__name__} cannot be opened; give a path, an address, a camera number, "
            "image paths or arrays"
        )
    items: Iterable[Any] = source
    if not isinstance(source, Sequence):
        iterator = iter(source)
        first = next(iterator, None)
        items = () if first is None else chain([first], iterator)
        if isinstance(first, str | Path):
            items = list(items)
    if isinstance(items, Sequence) and all(isinstance(item, str | Path) for item in items):
        return _open_pictures([Path(item) for item in items], "images", start, skip_broken)
    return ArrayFrames(items, start=start)


def _open_text(source: str | Path, start: int, skip_broken: bool) -> FrameSource:
    from fewmask.media.file_kinds import IMAGE_SUFFIXES
    from fewmask.media.image_files import images_in_folder
    from fewmask.media.video_file import VideoFile

    text = str(source)
    if "://" in text and isinstance(source, str):
        from fewmask.media.stored_video import StoredVideo, is_stored

        if is_stored(text):
            return StoredVideo(text, start=start, skip_broken=skip_broken)
        from fewmask.media.live import open_address

        return open_address(text, start=start, skip_broken=skip_broken)
    path = expanded(source)
    if is_there(path):
        if path.is_dir():
            return _open_pictures(images_in_folder(path), path.resolve().name, start, skip_broken)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return _open_pictures([path], path.stem, start, skip_broken)
        return VideoFile.from_path(path, start=start, skip_broken=skip_broken)
    if glob.has_magic(text):
        return _open_pictures(_images_of_glob(path), path.parent.name or "images", start, skip_broken)
    raise VideoError(f"{showable(text)}: no such file or folder; check the path")


def _open_pictures(paths: Sequence[Path], name: str, start: int, skip_broken: bool) -> FrameSource:
    from fewmask.media.image_files import ImageFiles
    from fewmask.media.picture_stack import PictureStack, is_stack

    if len(paths) == 1 and is_stack(paths[0]):
        return PictureStack(paths[0], name, start=start, skip_broken=skip_broken)
    return ImageFiles(paths, name, start=start, skip_broken=skip_broken)


def _images_of_glob(pattern: Path) -> list[Path]:
    from fewmask.media.file_kinds import IMAGE_SUFFIXES, is_litter, natural_key

    matches = [Path(match) for match in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207 - absolute patterns
    images = [path for path in matches if path.suffix.lower() in IMAGE_SUFFIXES and not is_litter(path.name)]
    if not images:
        raise VideoError(f"{pattern}: the pattern matches {len(matches)} files and no image; check it, quotes included")
    return sorted(images, key=natural_key)
