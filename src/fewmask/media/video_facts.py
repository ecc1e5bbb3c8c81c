"""``video.json`` of a run: what its results belong to, so that they can be read back without the source."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fewmask.errors import DatasetError
from fewmask.media.atomic import write_json
from fewmask.media.frame_source import FrameSource

NAME = "video.json"


class VideoFacts(BaseModel):
    """The video of a run.

    Attributes:
        name: without folder and suffix.
        height: in pixels.
        width: in pixels.
        fps: frames per second, where known.
        file_names: one per frame for image sources.
        categories: class id -> name.
        length: frames, once the run has come to the video's end.
        known_frames: the frames with results, if not all.
        shown: ids of the tracks in pictures and exports; ``tracks.json`` may have more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    file_names: tuple[str, ...] | None = None
    categories: dict[int, str]
    length: Annotated[int, Field(ge=0)] | None = None
    known_frames: tuple[int, ...] | None = None
    shown: tuple[int, ...] | None = None

    @classmethod
    def of(cls, frames: FrameSource, categories: Mapping[int, str]) -> Self:
        """Of an open source, before its end is known."""
        height, width = frames.size
        return cls(
            name=frames.name,
            height=height,
            width=width,
            fps=frames.fps,
            file_names=frames.file_names,
            categories=dict(categories),
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Of the run in ``folder``.

        Raises:
            DatasetError: the file is not there, or not as `write` made it.
        """
        path = folder / NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}); is {folder} a finished run?") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise DatasetError(f"{path}: {place}: {first['msg']}; run segment again") from error

    def write(self, folder: Path) -> None:
        """Whole or not at all.

        Raises:
            FewmaskError: the folder cannot be written.
        """
        write_json(folder / NAME, self.model_dump(mode="json"))
