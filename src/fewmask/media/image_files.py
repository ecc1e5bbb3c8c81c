"""Frames from image files: a folder, a glob, or a list."""

import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fewmask.errors import VideoError
from fewmask.media.frame_source import ClosesAtExit, Frame, RgbImage

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})


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
        self._frames = self._read(start)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Stop iterating; files are open only while one is read."""
        self._frames.close()

    def _first_readable(self) -> tuple[Path, tuple[int, int]]:
        for index, path in enumerate(self._paths):
            try:
                height, width = read_rgb(path).shape[:2]
            except VideoError as error:
                if not self._skip_broken:
                    raise VideoError(f"frame {index}: {error}") from error
            else:
                return path, (height, width)
        raise VideoError(f"{self.name}: none of the {len(self._paths)} images can be read")

    def _read(self, start: int) -> Generator[Frame, None, None]:
        for index in range(start, len(self._paths)):
            path = self._paths[index]
            try:
                rgb = read_rgb(path)
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
    """The image files directly in ``folder``, hidden ones left out, in natural order.

    Raises:
        VideoError: there is none, or the folder cannot be read.
    """
    try:
        found = [path for path in folder.iterdir() if _is_image(path)]
    except OSError as error:
        raise VideoError(f"{folder}: cannot be read ({error.strerror}); check that you may") from error
    if not found:
        known = " ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise VideoError(f"{folder}: no images in this folder; put frames there ({known})")
    return sorted(found, key=natural_key)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key under which numbers in a path count as numbers: frame2 before frame10."""
    pieces = re.split(r"(\d+)", str(path))
    # A number comes before text; numbers of equal value are told apart by the last element.
    keyed = [(int(piece), "") if piece.isdecimal() and piece.isascii() else (-1, piece.lower()) for piece in pieces]
    return [*keyed, (-1, str(path))]


def read_rgb(path: Path) -> RgbImage:
    """One image as contiguous uint8 [H, W, 3], upright (EXIF orientation applied).

    Sixteen-bit grey is scaled by 255/65535, palettes are looked up, alpha is dropped.

    Raises:
        VideoError: the file is missing, is no image, or is damaged; names the file.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return _as_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file; check the path") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError(f"{path}: cannot be read as an image ({_one_line(error)}); replace or remove it") from error


def _as_rgb(image: Image.Image) -> RgbImage:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        grey = ((wide * 255 + 32767) // 65535).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
    # Through RGBA, so that a palette with a transparent entry keeps its colours.
    opaque = image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
    return np.array(opaque.convert("RGB"))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
