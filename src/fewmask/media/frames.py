"""`open_frames`: a video file, folder, glob, list of images, camera or address as one kind of thing, a FrameSource."""

import glob
from collections.abc import Sequence
from pathlib import Path

from fewmask.errors import VideoError
from fewmask.media.addresses import showable
from fewmask.media.frame_source import Frame, FrameSource

__all__ = ["Frame", "FrameSource", "open_frames"]


def open_frames(
    source: str | Path | int | Sequence[str | Path], *, start: int = 0, skip_broken: bool = False
) -> FrameSource:
    """Open anything that holds frames.

    Args:
        source: a video file, a folder of images (sorted naturally: frame2 before frame10), a glob of images, one file
            of several pictures (multi-page TIFF, APNG, animated WebP), a camera number, an ``rtsp://`` or
            ``http(s)://`` address, or a sequence of image paths (taken in its order).
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
        VideoError: the source is missing, unreadable or empty. While iterating: a broken or unreadable frame, a frame
            of another size, a file cut short, a lost connection; all frames before it have come by then.
    """
    if start < 0:
        raise VideoError(f"start must be 0 or more, not {start}")
    if isinstance(source, int):
        from fewmask.media.live import open_camera

        return open_camera(source, start=start)
    if isinstance(source, str | Path):
        return _open_text(source, start, skip_broken)
    return _open_pictures([Path(path) for path in source], "images", start, skip_broken)


def _open_text(source: str | Path, start: int, skip_broken: bool) -> FrameSource:
    from fewmask.media.file_kinds import IMAGE_SUFFIXES
    from fewmask.media.image_files import images_in_folder
    from fewmask.media.video_file import VideoFile

    text = str(source)
    if "://" in text and isinstance(source, str):
        from fewmask.media.live import open_address

        return open_address(text, start=start, skip_broken=skip_broken)
    path = Path(source).expanduser()
    if path.is_dir():
        return _open_pictures(images_in_folder(path), path.resolve().name, start, skip_broken)
    if path.exists():
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
