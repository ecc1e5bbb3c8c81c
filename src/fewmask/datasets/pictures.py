"""A dataset's pictures as they were marked: their size from the header alone, and their pixels."""

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from fewmask.errors import DatasetError, VideoError
from fewmask.media.frame_source import RgbImage
from fewmask.media.image_pixels import read_rgb, upright_size

DECODING_ERRORS = (OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError, LookupError, TypeError,
                   OverflowError)  # fmt: skip
"""What Pillow raises for damaged files."""

_HEADER = 1 << 18  # bytes in which a picture's size nearly always stands
_TAIL = 1 << 16
_LONGEST_PICTURE = 1 << 24


def image_file_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture, upright.

    Raises:
        DatasetError: missing or not a picture.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEADER)
            length = path.stat().st_size
            try:
                if _turned_behind(head, path, length):
                    return _size_of(head + handle.read())
                return _size_of(head)
            except (*DECODING_ERRORS, Image.DecompressionBombError):
                # A few formats and files with much metadata need more; but a decoder would search junk byte by byte.
                if not len(head) < length <= _LONGEST_PICTURE:
                    raise
                return _size_of(head + handle.read())
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: picture is missing") from error
    except (*DECODING_ERRORS, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path}: not a readable picture ({one_line(error)})") from error


def read_picture(path: Path, size: tuple[int, int], what: str) -> RgbImage:
    """A picture that somebody marked, uint8 [H, W, 3]: upright, or as stored where only that fits ``size``.

    Args:
        path: the file.
        size: (height, width) at which it was marked.
        what: the entry that says so, for messages.

    Raises:
        DatasetError: it cannot be read, or has another size.
    """
    try:
        rgb = read_rgb(path, size=size)
    except VideoError as error:
        raise DatasetError(f"{error} ({what})") from error
    if rgb.shape[:2] != size:
        raise DatasetError(
            f"{path}: is {rgb.shape[0]}x{rgb.shape[1]} (height x width), {what} says {size[0]}x{size[1]}"
        )
    return rgb


def one_line(error: BaseException) -> str:
    """What a decoder said, in ASCII and on one short line."""
    if isinstance(error, UnidentifiedImageError):  # its own text names the buffer
        return "of no known image format"
    return ascii(str(error).splitlines()[0] if str(error) else type(error).__name__)[1:121].rstrip("'\"")


def _turned_behind(head: bytes, path: Path, length: int) -> bool:
    """Whether a PNG may hold its EXIF behind the pixels, as some tools write it."""
    if not head.startswith(b"\x89PNG") or b"eXIf" in head or length > _LONGEST_PICTURE:
        return False
    with path.open("rb") as handle:
        handle.seek(max(0, length - _TAIL))
        return b"eXIf" in handle.read()


def _size_of(data: bytes) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(BytesIO(data)) as image:
            if image.format == "PNG" and b"eXIf" in data[-_TAIL:]:
                image.load()
            return upright_size(image)
