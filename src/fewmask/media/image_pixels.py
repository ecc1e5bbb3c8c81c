"""One picture file as upright 8-bit RGB: EXIF turns, palettes, alpha, and pixels of more than eight bits."""

import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fewmask.errors import FewmaskError, VideoError
from fewmask.media.frame_source import RgbImage

_DEPTHS = (10, 12, 14, 16)
_STACKS = {"TIFF", "PNG", "WEBP", "GIF"}  # a JPEG with several pictures (MPO) is a photograph and its previews
_ORIENTATION, _REDUCED, _BITS, _DESCRIPTION = 0x0112, 254, 258, 270
_TURNS: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
# Pillow's plugins raise all of these for damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, struct.error, zlib.error,
           Image.DecompressionBombError)  # fmt: skip
_log = logging.getLogger("fewmask")


def read_rgb(path: Path, *, bits: int | None = None, size: tuple[int, int] | None = None) -> RgbImage:
    """One picture as contiguous uint8 [H, W, 3], upright (EXIF orientation applied).

    Palettes are looked up and alpha is dropped. Pixels of 16 bits are scaled from [0, 2^bits - 1] to [0, 255].

    Args:
        path: the file.
        bits: how many of 16 bits the camera used; by default `significant_bits` of this picture, which is logged.
        size: (height, width) at which somebody marked the picture: where it fits only the pixels as stored, the EXIF
            turn is left out, as it was then.

    Raises:
        VideoError: the file is missing, is no image, is damaged, or holds several pictures; names the file.
    """
    with opened_image(path) as image:
        count = picture_count(image)
        if count > 1:
            raise VideoError(
                f"{path}: holds {count} pictures; give it alone, as a video, or save the one that is meant by itself"
            )
        as_stored = size == (image.height, image.width) != upright_size(image)
        return rgb_of(image, path, bits=bits, upright=not as_stored)


@contextmanager
def image_errors(path: Path) -> Iterator[None]:
    """Turns whatever Pillow raises for a missing or damaged file into a VideoError that names it."""
    try:
        yield
    except FewmaskError:
        raise
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file; check the path") from error
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise VideoError(f"{path}: cannot be read as an image ({reason}); replace or remove it") from error


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Pillow's image of a file, with `image_errors` until the block ends."""
    # From a handle: Pillow 13 maps some TIFFs by their name into memory, and garbles those with an EXIF turn.
    with image_errors(path), path.open("rb") as handle, Image.open(handle) as image:
        yield image


def picture_count(image: Image.Image) -> int:
    """How many pictures the file holds: pages of a TIFF without its previews, frames of an animation.

    Raises:
        ValueError: an ImageJ stack that keeps its pictures where no TIFF reader finds them.
    """
    if image.format not in _STACKS:
        return 1
    if image.format != "TIFF":
        return int(getattr(image, "n_frames", 1)) - int(bool(getattr(image, "default_image", False)))
    count = len(pages(image))
    for line in str(_tag(image, _DESCRIPTION) or "").splitlines():
        if line.startswith("images=") and line[7:].isdecimal() and int(line[7:]) > max(count, 1) and count == 1:
            raise ValueError(f"an ImageJ stack of {line[7:]} pictures behind one page; save it as an image sequence")
    return count


def pages(image: Image.Image) -> list[int]:
    """The numbers of a TIFF's full pages or an animation's frames; previews and an animation's stand-in left out."""
    total = int(getattr(image, "n_frames", 1))
    if image.format != "TIFF" or total == 1:
        return list(range(int(bool(getattr(image, "default_image", False))), total))
    full = []
    for number in range(total):
        image.seek(number)
        if not int(_tag(image, _REDUCED) or 0) & 1:
            full.append(number)
    image.seek(full[0] if full else 0)
    return full or [0]


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, of the pixels as Pillow gives them; 1 where there is none that can be read."""
    if image.format == "TIFF":
        return 1  # Pillow has turned it
    if image.format == "PNG" and not image.info.keys() & {"exif", "raw profile type exif", "xmp"}:
        return 1  # Pillow would decode the whole picture to look behind it; after `load` it is there
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) once the EXIF turn is applied."""
    return (image.width, image.height) if orientation_of(image) >= 5 else (image.height, image.width)


def turned(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Pixels [H, W, ...] as stored, turned as the EXIF orientation says."""
    return _TURNS[orientation](pixels) if orientation in _TURNS else pixels


def rgb_of(image: Image.Image, path: Path, *, bits: int | None, upright: bool = True) -> RgbImage:
    """The picture at which ``image`` stands, as `read_rgb` gives it."""
    deep = deep_pixels(image, path)
    if deep is None:
        image.load()
        pixels = _as_rgb(image)
        return np.ascontiguousarray(turned(pixels, orientation_of(image))) if upright else pixels
    if bits is None:
        bits = significant_bits(int(deep.max(initial=0)))
        tell_scale(bits, path.parent)
    return scaled(turned(deep, orientation_of(image)) if upright else deep, bits)


def deep_pixels(image: Image.Image, path: Path) -> npt.NDArray[np.uint16] | None:
    """The pixels of a picture of 16 bits as stored, [H, W] or [H, W, 3]; None for eight bits and fewer.

    Raises:
        ValueError: floating-point or 32-bit pixels, which have no fixed range.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
            raise ValueError("pixels of 32 bits have no fixed range; save it with 8 or 16 bits")
        return wide.astype(np.uint16)
    if image.mode in ("RGB", "RGBA", "RGBX") and _has_deep_colours(image, path):
        return _deep_colours(image, path)
    return None


def significant_bits(brightest: int) -> int:
    """The fewest of 10, 12, 14 and 16 bits that hold this value: what cameras put into files of 16 bits."""
    return next(bits for bits in _DEPTHS if brightest < 1 << bits)


def scaled(pixels: npt.NDArray[np.uint16], bits: int) -> RgbImage:
    """Pixels [H, W] or [H, W, 3] of ``bits`` bits as uint8 [H, W, 3]; what is brighter than that becomes white."""
    top = (1 << bits) - 1
    eight = ((np.minimum(pixels, top).astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
    return np.ascontiguousarray(eight if eight.ndim == 3 else np.repeat(eight[:, :, None], 3, axis=2))


@lru_cache(maxsize=4096)
def tell_scale(bits: int, where: Path) -> None:
    """Say once per folder or file how 16-bit pixels are taken, unless they fill all 16 bits."""
    if bits < 16:
        _log.warning(
            "%s: pixels of 16 bits of which %d are used; 0 to %d became 0 to 255", where, bits, (1 << bits) - 1
        )


def _has_deep_colours(image: Image.Image, path: Path) -> bool:
    """Whether colours have 16 bits, of which Pillow keeps eight."""
    if image.format == "TIFF":
        bits = _tag(image, _BITS)
        return max(bits) > 8 if isinstance(bits, tuple) and bits else False
    if image.format == "PNG":
        with path.open("rb") as handle:
            return handle.read(25)[24:] == b"\x10"
    return False


def _deep_colours(image: Image.Image, path: Path) -> npt.NDArray[np.uint16] | None:
    import cv2

    data = np.asarray(np.memmap(path, np.uint8, "r"))
    found, decoded = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(image.tell(), image.tell() + 1))
    if not found or decoded[0].dtype != np.uint16 or decoded[0].ndim != 3:
        return None
    if decoded[0].shape[:2] != (image.height, image.width):
        return None
    return np.ascontiguousarray(decoded[0][:, :, 2::-1])


def _tag(image: Image.Image, number: int) -> Any:
    return getattr(image, "tag_v2", {}).get(number)


def _as_rgb(image: Image.Image) -> RgbImage:
    # Through RGBA, so that a palette with a transparent entry keeps its colours.
    opaque = image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
    return np.array(opaque.convert("RGB"))
