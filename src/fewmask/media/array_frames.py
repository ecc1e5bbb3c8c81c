"""Frames from pictures that are in memory already: arrays of NumPy or PyTorch, one, many, or an iterator of them."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from fewmask.errors import VideoError
from fewmask.media.frame_source import ClosesAtExit, Frame, RgbImage

_HINT = "give uint8 [H, W, 3], [T, H, W, 3], or a list or iterator of the former"


class ArrayFrames(ClosesAtExit):
    """Arrays as frames; see `fewmask.media.frames.open_frames`.

    The arrays of a list stay the caller's, and must not change while they are read; those of an iterator are copied,
    because cameras and decoders write every frame into the same memory.
    """

    def __init__(self, arrays: Iterable[Any], *, start: int = 0) -> None:
        self.name = "frames"
        self.fps: float | None = None
        self.is_live = False
        self.file_names: tuple[str, ...] | None = None
        self.broken: list[int] = []
        self.length: int | None = len(arrays) if isinstance(arrays, Sequence | np.ndarray) else None
        self.estimated_length = self.length
        self._copied = self.length is None
        pictures = iter(arrays)
        first = next(pictures, None)
        if first is None:
            raise VideoError(f"no picture was given; {_HINT}")
        rgb = as_picture(first, 0)
        self.size = (rgb.shape[0], rgb.shape[1])
        self._frames = self._read(chain([first], pictures), start)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Stop iterating; closing twice is allowed."""
        self._frames.close()

    def _read(self, pictures: Iterator[Any], start: int) -> Generator[Frame, None, None]:
        for index, picture in enumerate(pictures):
            if index < start:
                continue
            rgb = as_picture(picture, index)
            if rgb.shape[:2] != self.size:
                raise VideoError(
                    f"frame {index} is {rgb.shape[1]}x{rgb.shape[0]}, those before it {self.size[1]}x{self.size[0]}; "
                    "the frames of one video share one size"
                )
            yield Frame(index, float(index), rgb.copy() if self._copied else rgb)


def is_array(value: object) -> bool:
    """Whether it is an array of NumPy or a tensor of PyTorch, which is not imported to find out."""
    return isinstance(value, np.ndarray) or (type(value).__module__ == "torch" and type(value).__name__ == "Tensor")


def pictures_of_array(value: Any) -> Sequence[Any] | RgbImage:
    """One array as a sequence of pictures: [H, W, 3] is one, [T, H, W, 3] are T.

    Raises:
        VideoError: another shape or type of pixels.
    """
    array = _as_numpy(value)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape:
        raise VideoError(f"an array of {array.dtype} {list(array.shape)} is no picture or video; {_HINT}")
    return [array] if array.ndim == 3 else array


def as_picture(value: object, index: int) -> RgbImage:
    """A picture of a list or iterator as contiguous uint8 [H, W, 3].

    Raises:
        VideoError: it is something else; names the frame.
    """
    if not is_array(value):
        raise VideoError(f"frame {index} is of type {type(value).__name__}; give arrays uint8 [H, W, 3]")
    array = _as_numpy(value)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise VideoError(f"frame {index} is {array.dtype} {list(array.shape)}; give uint8 [H, W, 3]")
    return np.ascontiguousarray(array)


def _as_numpy(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
