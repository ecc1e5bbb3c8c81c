"""Frames from image files: a folder, a glob, or a list."""

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fewmask.errors import VideoError
from fewmask.media.file_kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES, entries, files_in
from fewmask.media.frame_source import ClosesAtExit, Frame
from fewmask.media.image_pixels import deep_pixels, opened_image, read_rgb, significant_bits, tell_scale

__all__ = ["ImageFiles", "images_in_folder", "read_rgb"]

_LOOKED_AT = 16  # pictures, evenly spread, that tell how many bits the whole source uses
_NOT_READ = frozenset({
    ".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".exr",
    ".hdr", ".psd", ".svg",
})  # fmt: skip
_log = logging.getLogger("fewmask")


class ImageFiles(ClosesAtExit):
    """Image files as frames, in the order given; see `fewmask.media.frames.open_frames`."""

    def __init__(self, paths: Sequence[Path], name: str, *, start: int = 0, skip_broken: bool = False) -> None:
        if not paths:
            raise VideoError(f"{name}: the list of images is empty; give at least one")
        self.name = name
        self.fps: float | None = None
        self.length: int | None = len(paths)
        self.estimated_length: int | None = len(paths)
        self.is_live = False
        self.file_names: tuple[str, ...] | None = tuple(path.name for path in paths)
        self.broken: list[int] = []
        self._paths = tuple(paths)
        self._skip_broken = skip_broken
        self._first, self.size = self._first_readable()
        self._bits = self._bits_of_all()
        self._frames = self._read(start)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Stop iterating; files are open only while one is read."""
        self._frames.close()

    def _first_readable(self) -> tuple[Path, tuple[int, int]]:
        for index, path in enumerate(self._paths):
            try:
                height, width = read_rgb(path, bits=16).shape[:2]
            except VideoError as error:
                if not self._skip_broken:
                    raise VideoError(f"frame {index}: {error}") from error
            else:
                return path, (height, width)
        raise VideoError(f"{self.name}: none of the {len(self._paths)} images can be read")

    def _bits_of_all(self) -> int | None:
        """Of 16-bit pictures the bits that are used, one number for all so that nothing flickers; None for 8 bits."""
        if _brightest(self._first) is None:
            return None
        count = len(self._paths)
        chosen = {index * (count - 1) // max(1, _LOOKED_AT - 1) for index in range(_LOOKED_AT)}
        brightest = [_brightest(self._paths[index]) or 0 for index in sorted(chosen)]
        bits = significant_bits(max(brightest))
        tell_scale(bits, self._first.parent)
        return bits

    def _read(self, start: int) -> Generator[Frame, None, None]:
        for index in range(start, len(self._paths)):
            path = self._paths[index]
            try:
                rgb = read_rgb(path, bits=self._bits)
            except VideoError as error:
                if not self._skip_broken:
                    raise VideoError(f"frame {index}: {error}") from error
                self.broken.append(index)
                continue
            height, width = rgb.shape[:2]
            if (height, width) != self.size:
                raise VideoError(
                    f"frame {index}: {path} is {width}x{height}, but {self._first} is {self.size[1]}x{self.size[0]}; "
                    "the frames of one video share one size"
                )
            yield Frame(index, float(index), rgb)


def images_in_folder(folder: Path) -> list[Path]:
    """The image files directly in ``folder`` in natural order, litter of file systems left out.

    Raises:
        VideoError: there is none, or the folder cannot be read.
    """
    try:
        found = files_in(folder, IMAGE_SUFFIXES)
        others = [path.name for path in entries(folder) if path.suffix.lower() in _NOT_READ]
        videos = [] if found else [path.name for path in files_in(folder, VIDEO_SUFFIXES)]
    except OSError as error:
        raise VideoError(f"{folder}: cannot be read ({error.strerror}); check that you may") from error
    if videos:
        raise VideoError(f"{folder}: no images in this folder, but {_some(videos)}; give one video")
    if not found and others:
        raise VideoError(f"{folder}: no images in this folder that can be read ({_some(others)}); save them as PNG")
    if not found:
        known = " ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise VideoError(f"{folder}: no images in this folder; put frames there ({known})")
    if others:
        _log.warning("%s: passed over what cannot be read (%s)", folder, _some(others))
    return found


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}, {len(names)} in all"


def _brightest(path: Path) -> int | None:
    """The brightest value of a 16-bit picture; None for others, and for what cannot be read."""
    with suppress(VideoError), opened_image(path) as image:
        deep = deep_pixels(image, path)
        return None if deep is None else int(deep.max(initial=0))
    return None
