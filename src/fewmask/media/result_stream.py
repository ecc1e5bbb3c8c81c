"""The socket of the runner: what a method must be to fill a run directory from a video, whichever method it is."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from fewmask.media.final_tracks import FinalTracks
from fewmask.media.frames import Frame
from fewmask.media.results import FrameResult

Reread: TypeAlias = Callable[[Collection[int]], Iterator[Frame]]
"""Gives the frames of the source with these indices once more, in order."""


class ResultStream(Protocol):
    """One video through one method."""

    @property
    def categories(self) -> Mapping[int, str]:
        """Class names by category id."""
        ...

    @property
    def live_tracks(self) -> int | None:
        """How many rows of a frame result count while the end is not known, best first; None = all."""
        ...

    def run(self, frames: Iterable[Frame]) -> Iterator[Sequence[FrameResult]]:
        """Results in order, in groups as they become known; an error of the source comes after them."""
        ...

    def state(self) -> dict[str, Any] | None:
        """Between two groups: what going on after the last one needs, as plain JSON values.

        None where it cannot go on here; a run without any state starts again from its first frame.
        """
        ...

    def restore(self, state: dict[str, Any], reread: Reread) -> None:
        """Put a fresh stream into ``state``; the next frame is the one after the last result."""
        ...

    def final_tracks(self) -> FinalTracks | None:
        """Once the frames have ended: the ranking that they could not know; None where they said it all."""
        ...
