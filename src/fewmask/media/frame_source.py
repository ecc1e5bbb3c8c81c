"""What every source of frames looks like: Frame, and the FrameSource protocol."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

RgbImage = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One upright picture.

    Attributes:
        index: true position in the source, from 0, whatever was skipped before it.
        time_s: seconds since the source's first frame; images carry no time and count one second each.
        rgb: uint8 [H, W, 3], contiguous.
    """

    index: int
    time_s: float
    rgb: RgbImage


class FrameSource(Protocol):
    """Frames that come once, in order; iterate, then ``close()``, or use it as a context manager.

    Attributes:
        name: file stem, folder name, or the last part of the address.
        size: (height, width) of every frame, upright, in pixels.
        fps: frames per second, the mean for a variable rate; None for images or where the stream does not say.
        length: exact number of frames in the whole source; None when unknown or live.
        estimated_length: ``length`` where known, else a guess from duration and rate; None for live sources.
        is_live: True for cameras and streams without an end.
        file_names: one per frame for image sources, else None.
        broken: indices of the frames that could not be decoded and were skipped so far.
    """

    name: str
    size: tuple[int, int]
    fps: float | None
    length: int | None
    estimated_length: int | None
    is_live: bool
    file_names: tuple[str, ...] | None
    broken: list[int]

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Release the file or device; closing twice is allowed."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClosesAtExit:
    """The context-manager half of a FrameSource."""

    def close(self) -> None:
        """Release the file or device; closing twice is allowed."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
