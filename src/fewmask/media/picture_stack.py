"""Frames from one picture file that holds several: a multi-page TIFF (time lapse), an APNG, an animated WebP."""

import weakref
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from PIL import Image

from fewmask.errors import VideoError
from fewmask.media.frame_source import ClosesAtExit, Frame, RgbImage
from fewmask.media.image_pixels import (
    deep_pixels,
    image_errors,
    opened_image,
    pages,
    picture_count,
    rgb_of,
    significant_bits,
    tell_scale,
)

_LOOKED_AT = 16  # pages, evenly spread, that tell how many bits the whole stack uses


def is_stack(path: Path) -> bool:
    """Whether a file holds more than one picture; False where it cannot be read, which reading it will tell."""
    with suppress(VideoError), opened_image(path) as image:
        return picture_count(image) > 1
    return False


class PictureStack(ClosesAtExit):
    """The pictures of one file as frames; see `fewmask.media.frames.open_frames`.

    Animations carry times, and ``fps`` is that of the first picture's duration; pages of a TIFF count one second each.
    """

    def __init__(self, path: Path, name: str, *, start: int = 0, skip_broken: bool = False) -> None:
        self.name = name
        self.is_live = False
        self.file_names: tuple[str, ...] | None = None
        self.broken: list[int] = []
        self._path = path
        self._skip_broken = skip_broken
        with image_errors(path), ExitStack() as stack:
            self._image = stack.enter_context(Image.open(stack.enter_context(path.open("rb"))))
            self._numbers = pages(self._image)
            self.length: int | None = len(self._numbers)
            self.estimated_length: int | None = self.length
            self._bits = self._bits_of_all()
            self.size = self._first_size()
            duration = self._duration_ms()
            self.fps = 1000 / duration if duration > 0 else None
            self._stack = stack.pop_all()
            weakref.finalize(self, self._stack.close)
        self._frames = self._read(start)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        """Release the file; closing twice is allowed."""
        self._frames.close()
        self._stack.close()

    def _first_size(self) -> tuple[int, int]:
        for index in range(len(self._numbers)):
            try:
                height, width = self._picture(index).shape[:2]
            except VideoError:
                if not self._skip_broken:
                    raise
            else:
                return height, width
        raise VideoError(f"{self._path}: none of its {len(self._numbers)} pictures can be read")

    def _bits_of_all(self) -> int | None:
        """Of 16-bit pages the bits that are used, one number for all so that nothing flickers; None for 8 bits."""
        count = len(self._numbers)
        brightest = 0
        for index in sorted({step * (count - 1) // (_LOOKED_AT - 1) for step in range(_LOOKED_AT)}):
            try:
                with image_errors(self._path):
                    self._image.seek(self._numbers[index])
                    deep = deep_pixels(self._image, self._path)
            except VideoError:
                continue  # told when its turn comes
            if deep is None:
                return None
            brightest = max(brightest, int(deep.max(initial=0)))
        bits = significant_bits(brightest)
        tell_scale(bits, self._path)
        return bits

    def _picture(self, index: int) -> RgbImage:
        try:
            with image_errors(self._path):
                self._image.seek(self._numbers[index])
                return rgb_of(self._image, self._path, bits=self._bits)
        except VideoError as error:
            raise VideoError(f"frame {index}: {error}") from error

    def _duration_ms(self) -> float:
        duration = self._image.info.get("duration", 0)
        return float(duration) if isinstance(duration, int | float) else 0.0

    def _read(self, start: int) -> Generator[Frame, None, None]:
        timed = self.fps is not None
        time_s = 0.0
        for index in range(0 if timed else start, len(self._numbers)):
            try:
                rgb = self._picture(index)
            except VideoError:
                if not self._skip_broken:
                    raise
                self.broken.append(index)
                continue
            height, width = rgb.shape[:2]
            if (height, width) != self.size:
                raise VideoError(
                    f"frame {index}: {self._path}: its size is {width}x{height}, that of those before it "
                    f"{self.size[1]}x{self.size[0]}; the frames of one video share one size"
                )
            if index >= start:
                yield Frame(index, time_s if timed else float(index), rgb)
            time_s += self._duration_ms() / 1000
        self._stack.close()
