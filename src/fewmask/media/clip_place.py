"""Where a clip lies in a video: the noun that a pool, a query and a support share."""

from dataclasses import dataclass
from pathlib import Path

from fewmask.addresses import address_name, is_address
from fewmask.errors import FewmaskError


@dataclass(frozen=True)
class ClipPlace:
    """Where a clip lies: frames first to last of a video."""

    video: str
    first: int
    last: int

    @property
    def id(self) -> str:
        """The name under which the clip is indexed."""
        return f"{self.video}#{self.frames}"

    @property
    def frames(self) -> str:
        """The frames as "first-last"."""
        return f"{self.first}-{self.last}"

    @property
    def title(self) -> str:
        """For people: "dog.mp4  frames 0-149"."""
        name = address_name(self.video) if is_address(self.video) else Path(self.video).name
        return f"{name}  frames {self.frames}"

    @classmethod
    def of(cls, clip_id: object) -> "ClipPlace":
        """The place that ``id`` names.

        Raises:
            FewmaskError: the id is not one of a pool made from videos.
        """
        video, separator, frames = str(clip_id).rpartition("#")
        first, _, last = frames.partition("-")
        if not separator or not first.isdecimal() or not last.isdecimal():
            raise FewmaskError(f"{clip_id!r} names no clip of a video; make the index with `fewmask index`")
        return cls(video, int(first), int(last))
