"""PNG label maps: one whole number per pixel (an object, a class, or 0/255 for a single mask)."""

import re
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fewmask.datasets.json_file import MAX_SIDE
from fewmask.errors import DatasetError

LabelMap = npt.NDArray[np.integer]
VOID = 255
"""In an 8-bit map that holds other labels too: a pixel nobody decided about."""

_HEADER = 1 << 18  # bytes in which a picture's size nearly always stands
_LONGEST_PICTURE = 1 << 24
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError, IndexError, OverflowError)


def read_label_map(path: Path, *, size: tuple[int, int] | None = None, data: bytes | None = None) -> LabelMap:
    """The labels uint8 or uint16 [H, W] of a palette, grey, 1-bit or 16-bit PNG; palette colours play no part.

    RGB files are taken if they are grey, as some DAVIS 2016 masks are.

    Args:
        path: the PNG.
        size: (height, width) it must have.
        data: the PNG itself, where it is no file of its own; ``path`` is then its name in messages.

    Raises:
        DatasetError: not a PNG, truncated, of colour, or of another size.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path if data is None else BytesIO(data), formats=("PNG",)) as image:
                _check_size((image.height, image.width), size, path)
                return _labels(image, path)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: label map is missing") from error
    except Image.DecompressionBombError as error:
        raise DatasetError(f"{path}: label map is larger than any frame") from error
    except _DECODING_ERRORS as error:
        raise DatasetError(f"{path}: not a readable PNG label map ({_one_line(error)})") from error


def write_label_map(path: Path, labels: LabelMap, *, wide: bool = False) -> None:
    """Write labels [H, W] as a PNG into a folder that is still being made (see whole_folder.py).

    Labels up to 255 become a palette PNG in the usual colours (as DAVIS uses), a map of only 0 and 255 a grey one,
    and larger labels, up to 65,535, a 16-bit one.

    Raises:
        ValueError: a label is negative or above 65,535.
    """
    highest = int(labels.max(initial=0))
    if labels.min(initial=0) < 0 or highest > 65535:
        raise ValueError("a PNG label must be in [0, 65535]")
    if wide or highest > 255:
        image = Image.fromarray(labels.astype(np.uint16))
    else:
        image = Image.fromarray(labels.astype(np.uint8))
        if not np.isin(labels, (0, 255)).all() or highest == 0:
            image.putpalette(_palette().tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")


def image_file_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture, from its header.

    Raises:
        DatasetError: missing or not a picture.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEADER)
            try:
                return _size_of(head)
            except (*_DECODING_ERRORS, Image.DecompressionBombError):
                # A few formats and files with much metadata need more; but a decoder would search junk byte by byte.
                if not len(head) < path.stat().st_size <= _LONGEST_PICTURE:
                    raise
                return _size_of(head + handle.read())
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: picture is missing") from error
    except (*_DECODING_ERRORS, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path}: not a readable picture ({_one_line(error)})") from error


def _size_of(data: bytes) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(BytesIO(data)) as image:
            return image.height, image.width


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which frame2 comes before frame10."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts)


def _labels(image: Image.Image, path: Path) -> LabelMap:
    if image.mode in ("P", "L", "1"):
        labels = np.asarray(image)
        return labels.astype(np.uint8) * VOID if image.mode == "1" else labels
    if image.mode in ("I", "I;16", "I;16B"):
        wide = np.asarray(image)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
            raise DatasetError(f"{path}: label map holds labels beyond 16 bits")
        return wide.astype(np.uint16)
    if image.mode in ("RGB", "RGBA", "LA"):
        channels = np.asarray(image)
        grey: LabelMap = channels[..., 0]
        if image.mode == "LA" or (channels[..., :3] == grey[..., None]).all():
            return grey
    raise DatasetError(f"{path}: a colour picture ({image.mode}) is no label map; save palette indices or grey values")


def _check_size(found: tuple[int, int], expected: tuple[int, int] | None, path: Path) -> None:
    if expected is not None and found != expected:
        raise DatasetError(
            f"{path}: label map has {found[0]}x{found[1]} pixels, its frame has {expected[0]}x{expected[1]} "
            "(height x width)"
        )
    if max(found) > MAX_SIDE:
        raise DatasetError(f"{path}: label map has {found[0]}x{found[1]} pixels; the limit is {MAX_SIDE} a side")


def _palette() -> npt.NDArray[np.uint8]:
    """uint8 [256, 3]: bit 3j + c of the label becomes bit 7 - j of colour channel c, as PASCAL VOC and DAVIS do."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for channel in range(3):
        for bit in range(3):
            colours[:, channel] |= (((labels >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def _one_line(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):  # its own text names the buffer
        return "of no known image format"
    return ascii(str(error).splitlines()[0] if str(error) else type(error).__name__)[1:121].rstrip("'\"")
