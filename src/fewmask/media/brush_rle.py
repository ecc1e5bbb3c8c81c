"""Label Studio's brush run lengths, out and in.

The picture is RGBA, row by row, all four channels 255 inside and 0 outside. A bit stream holds the number of values (32
bits), bits per value - 1 (5), four possible widths of a length - 1 (4 each), then run after run: 1 for a repeated value
or 0 for values one by one, which width (2), length - 1, the value or values. See the rle-pack format of
thi.ng/umbrella, which Label Studio's frontend reads. Its own codec is in label-studio-sdk, which brings 25 packages
more (pandas, nltk, a second OpenCV); a test compares this one with it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fewmask.errors import DatasetError

_RUN_BITS = (3, 4, 8, 16)  # the widths that we write


def encode_brush(mask: npt.NDArray[np.bool_]) -> list[int]:
    """A bitmap [H, W] as bytes."""
    flat = mask.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    lengths = np.diff(ends, prepend=0) * 4
    bits = [f"{flat.size * 4:032b}{7:05b}", *(f"{width - 1:04b}" for width in _RUN_BITS)]
    inside = bool(flat[0])
    for length in lengths.tolist():
        bits += _run(length, 255 if inside else 0)
        inside = not inside
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def _run(length: int, value: int) -> Iterator[str]:
    while length > 0:
        part = min(length, 1 << _RUN_BITS[-1])
        which = next(i for i, width in enumerate(_RUN_BITS) if part <= 1 << width)
        yield f"1{which:02b}{part - 1:0{_RUN_BITS[which]}b}{value:08b}"
        length -= part


def decode_brush(data: Sequence[int], height: int, width: int, where: str) -> npt.NDArray[np.bool_]:
    """Bytes as a bitmap bool [H, W]: where the alpha channel is not 0.

    Raises:
        DatasetError: no bytes, or not of a picture of this size; ``where`` begins the message.
    """
    try:
        stream = "".join(f"{byte:08b}" for byte in bytes(data))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: 'rle' must be a list of bytes, 0..255") from error
    values = np.zeros(height * width * 4, dtype=np.uint8)
    try:
        if int(stream[:32], 2) != len(values):
            raise DatasetError(f"{where}: 'rle' is not that of a picture of {height}x{width} pixels")
        word = int(stream[32:37], 2) + 1
        widths = [int(stream[37 + 4 * i : 41 + 4 * i], 2) + 1 for i in range(4)]
        position, filled = 53, 0
        while filled < len(values):
            repeated, bits = stream[position] == "1", widths[int(stream[position + 1 : position + 3], 2)]
            position += 3 + bits
            length = int(stream[position - bits : position], 2) + 1
            for start in range(filled, filled + 1 if repeated else filled + length):
                values[start : filled + length] = min(255, int(stream[position : position + word], 2))
                position += word
            filled += length
    except (ValueError, IndexError) as error:
        raise DatasetError(f"{where}: 'rle' is cut short or damaged; export it again") from error
    alpha: npt.NDArray[np.bool_] = values.reshape(height, width, 4)[:, :, 3] > 0
    return alpha
