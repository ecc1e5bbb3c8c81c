"""The one reader of masks and label maps as people save them: grey, palette, colour, alpha, JPEG, 1 and 16 bits.

Rules, in the order in which they are tried:

* Palette: the index is the label. Background is index 0, unless 0 is not black and another index in use is black or
  transparent: then the two change places (a two-colour file of a paint program).
* Alpha that varies: what is at least half opaque is the object; where the opaque part holds labels too, they count.
* Colours: those of the PASCAL VOC and DAVIS palette are its labels; one colour on black is one object; in a mask every
  colour that is not black is the object; in a label map any others are refused.
* Soft edges and JPEG: a picture of black and white with many levels at the edges only is cut at half of white. JPEG
  that holds areas of other levels is refused, because it changes labels.
* 1 bit, and 16 bits with only 0 and 65535, are 0 and 255. Floating point from 0 to 1 is cut at a half.
"""

import warnings
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from fewmask.datasets.json_file import MAX_SIDE
from fewmask.datasets.label_maps import VOID, LabelMap, palette
from fewmask.datasets.pictures import DECODING_ERRORS, one_line
from fewmask.errors import DatasetError
from fewmask.media.file_kinds import IMAGE_SUFFIXES
from fewmask.media.image_pixels import orientation_of, picture_count, turned

MASK_SUFFIXES = IMAGE_SUFFIXES | {".gif"}

_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "TGA", "JPEG2000")
_LOSSY = ("JPEG", "MPO", "JPEG2000")
_SOFT_LEVELS = 16  # grey levels between black and white that labels would hardly use beside white
_FLAT = 0.1  # of white: what differs less from its neighbours, and is neither black nor white, is no edge
_FLAT_SHARE = 0.05  # of the pixels that are not black; more than that are labels
_JPEG_NOISE = 48  # a JPEG's ringing stays below it
_MOST_LABELS = 64  # grey levels inside a cut-out beyond which it is a photograph
_GREY_NOISE = 40  # difference of the colour channels of a grey JPEG


def read_label_map(path: Path, *, size: tuple[int, int] | None = None, data: bytes | None = None) -> LabelMap:
    """The labels uint8 or uint16 [H, W] of a picture file, upright; 0 is background.

    Args:
        path: the file.
        size: (height, width) it must have.
        data: the PNG itself, where it is no file of its own; ``path`` is then its name in messages.

    Raises:
        DatasetError: no picture, truncated, of colours that are no labels, or of another size.
    """
    return _read(path, size, data, any_colour=False)


def read_mask(path: Path, *, size: tuple[int, int] | None = None) -> npt.NDArray[np.bool_]:
    """A mask file as bool [H, W], upright: every label but 0, every colour but black.

    Args:
        path: the file.
        size: (height, width) it should have: where only the pixels as stored do, an EXIF turn is left out.

    Raises:
        DatasetError: missing or unreadable.
    """
    return np.asarray(_read(path, None, None, any_colour=True, hint=size) != 0)


def _read(
    path: Path,
    size: tuple[int, int] | None,
    data: bytes | None,
    *,
    any_colour: bool,
    hint: tuple[int, int] | None = None,
) -> LabelMap:
    formats = _FORMATS if data is None else ("PNG",)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # From a handle, not by name: see `fewmask.media.image_pixels.opened_image`.
            with (
                path.open("rb") if data is None else BytesIO(data) as handle,
                Image.open(handle, formats=formats) as image,
            ):
                stored = (image.height, image.width)
                if max(stored) > MAX_SIDE:
                    raise DatasetError(
                        f"{path}: label map has {stored[0]}x{stored[1]} pixels; the limit is {MAX_SIDE} a side"
                    )
                if size is not None and size not in (stored, stored[::-1]):
                    raise _wrong_size(path, stored, size)
                count = picture_count(image)
                if count > 1:
                    raise DatasetError(f"{path}: holds {count} pictures; save one mask a file")
                image.load()
                labels = _labels(image, path, lossy=_is_lossy(image, handle), any_colour=any_colour)
                upright: LabelMap = np.ascontiguousarray(turned(labels, orientation_of(image)))
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: label map is missing") from error
    except Image.DecompressionBombError as error:
        raise DatasetError(f"{path}: label map is larger than any frame") from error
    except DECODING_ERRORS as error:
        raise DatasetError(f"{path}: not a readable picture of a mask ({one_line(error)})") from error
    wanted = size or hint
    if wanted is not None and upright.shape != wanted == labels.shape:
        return labels  # the tag was copied from the picture, the mask drawn on the upright one
    if size is not None and upright.shape != size:
        raise _wrong_size(path, (upright.shape[0], upright.shape[1]), size)
    return upright


def _wrong_size(path: Path, found: tuple[int, int], expected: tuple[int, int]) -> DatasetError:
    return DatasetError(
        f"{path}: label map has {found[0]}x{found[1]} pixels, its frame has {expected[0]}x{expected[1]} "
        "(height x width)"
    )


def _is_lossy(image: Image.Image, handle: IO[bytes]) -> bool:
    if image.format == "WEBP":
        handle.seek(0)
        return b"VP8L" not in handle.read(4096)
    return image.format in _LOSSY


def _labels(image: Image.Image, path: Path, *, lossy: bool, any_colour: bool) -> LabelMap:
    """The labels as stored, before any turn."""
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8) * np.uint8(VOID)
    if image.mode == "P":
        return _of_palette(image)
    if image.mode == "F":
        return _of_floats(np.asarray(image), path)
    if image.mode.startswith("I"):
        return _of_wide(np.asarray(image), path)
    alpha = np.asarray(image.getchannel("A")) if image.mode in ("LA", "RGBA", "PA") else None
    if alpha is not None and alpha.min(initial=255) < alpha.max(initial=0):
        return _of_alpha(image, alpha, lossy, path, any_colour=any_colour)
    if image.mode in ("L", "LA"):
        return _of_grey(np.asarray(image.getchannel(0)), lossy, path)
    return _of_colours(np.asarray(image.convert("RGB")), lossy, path, any_colour=any_colour)


def _of_palette(image: Image.Image) -> LabelMap:
    indices = np.asarray(image)
    used = np.flatnonzero(np.bincount(indices.reshape(-1), minlength=256))
    colours = np.full((256, 3), 1, dtype=np.uint8)
    given = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    colours[: len(given)] = given
    if not colours[0].any():
        return indices
    clear = image.info.get("transparency")
    black = [clear] if isinstance(clear, int) and clear in used else used[~colours[used].any(axis=1)].tolist()
    if not black or black[0] == 0:
        return indices
    places = np.arange(256, dtype=np.uint8)
    places[0], places[black[0]] = (VOID if len(used) == 2 else black[0]), 0
    return np.asarray(places[indices])


def _of_alpha(
    image: Image.Image, alpha: npt.NDArray[np.uint8], lossy: bool, path: Path, *, any_colour: bool
) -> LabelMap:
    opaque = alpha >= 128
    if not any_colour:
        inside = np.asarray(image.convert("RGBA").convert("RGB")) * opaque[:, :, None]
        try:
            labels = _of_colours(inside, lossy, path, any_colour=False)
        except DatasetError:  # a cut-out photograph
            labels = np.zeros(alpha.shape, dtype=np.uint8)
        if 0 < np.count_nonzero(np.bincount(labels.reshape(-1))) - 1 <= _MOST_LABELS:
            return labels
    return opaque.astype(np.uint8) * np.uint8(VOID)


def _of_wide(pixels: npt.NDArray[Any], path: Path) -> LabelMap:
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 65535:
        raise DatasetError(f"{path}: label map holds labels beyond 16 bits")
    return _cut(pixels.astype(np.uint16), 65535)


def _of_floats(pixels: npt.NDArray[Any], path: Path) -> LabelMap:
    if not np.isfinite(pixels).all() or pixels.min(initial=0) < 0 or pixels.max(initial=0) > 65535:
        raise DatasetError(f"{path}: floating-point pixels that are no labels; save it with 8 or 16 bits")
    if pixels.max(initial=0) <= 1:
        return (pixels >= 0.5).astype(np.uint8) * np.uint8(VOID)
    if (pixels != np.rint(pixels)).any():
        raise DatasetError(f"{path}: floating-point pixels that are no labels; save it with 8 or 16 bits")
    return pixels.astype(np.uint16)


def _of_grey(pixels: npt.NDArray[np.uint8], lossy: bool, path: Path) -> LabelMap:
    return _of_jpeg(pixels, path) if lossy else _cut(pixels, VOID)


def _of_colours(colours: npt.NDArray[np.uint8], lossy: bool, path: Path, *, any_colour: bool) -> LabelMap:
    grey = colours[..., 0]
    spread = int((colours.max(axis=2).astype(np.int16) - colours.min(axis=2)).max(initial=0))
    if spread == 0 or (lossy and spread <= _GREY_NOISE):
        return _of_grey(grey, lossy, path)
    if any_colour:
        return _of_grey(colours.max(axis=2), lossy, path)
    if not lossy:
        packed = colours.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
        found, inverse = np.unique(packed, return_inverse=True)
        known = palette().astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
        labels = {int(colour): index for index, colour in reversed(list(enumerate(known)))}
        values = [labels.get(int(colour)) for colour in found[:257]]
        if len(found) <= 257 and None not in values:
            of_colours: LabelMap = np.asarray(values, dtype=np.uint8)[np.asarray(inverse).reshape(packed.shape)]
            return of_colours
        if (found != 0).sum() == 1:
            one: LabelMap = (packed != 0).astype(np.uint8) * np.uint8(VOID)
            return one
    raise DatasetError(
        f"{path}: a colour picture is no label map; save palette indices, grey values, or one colour on black"
    )


def _of_jpeg(pixels: npt.NDArray[np.uint8], path: Path) -> LabelMap:
    brightest = int(pixels.max(initial=0))
    between = (pixels >= _JPEG_NOISE) & (pixels <= VOID - _JPEG_NOISE)
    if 0 < brightest < 128 or _are_labels(pixels, between, int((pixels >= _JPEG_NOISE).sum()), VOID):
        raise DatasetError(f"{path}: a JPEG of more than black and white is no label map, its values change; save PNG")
    return (pixels >= 128).astype(np.uint8) * np.uint8(VOID)


def _cut(pixels: npt.NDArray[Any], white: int) -> LabelMap:
    """0 and 255 where the picture is black and white, with soft edges or without; else the labels as they are."""
    counts = np.bincount(pixels.reshape(-1), minlength=white + 1)
    levels = int(np.count_nonzero(counts[1:white]))
    if not counts[white] or 0 < levels < _SOFT_LEVELS or (levels == 0 and white == VOID):
        return pixels
    if levels and _are_labels(pixels, (pixels > 0) & (pixels < white), int(counts[1:].sum()), white):
        return pixels
    return (pixels > white // 2).astype(np.uint8) * np.uint8(VOID)


def _are_labels(pixels: npt.NDArray[Any], between: npt.NDArray[np.bool_], of: int, white: int) -> bool:
    """Whether there are areas of one grey level, not edges only, among the pixels between black and white."""
    around = np.ones((3, 3), np.uint8)
    change = cv2.dilate(pixels, around).astype(np.int32) - cv2.erode(pixels, around)
    return int((between & (change < _FLAT * white)).sum()) > _FLAT_SHARE * max(1, of)
