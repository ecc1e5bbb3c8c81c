"""The single corrections a person can make, as they stand in the journal: one small checked record each."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from fewmask.errors import DatasetError

LONGEST_NAME = 120
_LARGEST = 2**31 - 1

ClassName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f\x7f]*$")
]
TrackId = Annotated[int, Field(ge=1, le=_LARGEST)]
FrameIndex = Annotated[int, Field(ge=0, le=_LARGEST)]
Counts = Annotated[str, StringConstraints(min_length=1, max_length=1 << 22, pattern=r"^[0-o]+$")]
"""COCO run lengths, compressed."""


class _Edit(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RenameClass(_Edit):
    """Every track of the class ``old`` is of the class ``new``."""

    kind: Literal["rename-class"] = "rename-class"
    old: ClassName
    new: ClassName


class SetClass(_Edit):
    """One track is of another class."""

    kind: Literal["set-class"] = "set-class"
    track: TrackId
    name: ClassName


class Merge(_Edit):
    """``other`` is the same object as ``into``, whose id stays; where both have a mask it is the union."""

    kind: Literal["merge"] = "merge"
    into: TrackId
    other: TrackId


class Split(_Edit):
    """From ``frame`` on a track is another object, with the next free id."""

    kind: Literal["split"] = "split"
    track: TrackId
    frame: FrameIndex


class Swap(_Edit):
    """From ``frame`` on two tracks change their ids."""

    kind: Literal["swap"] = "swap"
    first: TrackId
    second: TrackId
    frame: FrameIndex


class Delete(_Edit):
    """A track is not there, from frame ``first`` to frame ``last``; None is its beginning or end."""

    kind: Literal["delete"] = "delete"
    track: TrackId
    first: FrameIndex | None = None
    last: FrameIndex | None = None


class SetMask(_Edit):
    """A track has this mask in one frame; None says that it is absent there."""

    kind: Literal["mask"] = "mask"
    track: TrackId
    frame: FrameIndex
    counts: Counts | None


class AddTrack(_Edit):
    """An object that was not found, with its mask in one frame and the next free id."""

    kind: Literal["add"] = "add"
    name: ClassName
    frame: FrameIndex
    counts: Counts


class Confirm(_Edit):
    """Frames ``first`` to ``last`` were looked at and are right as they are now, or are to be open again."""

    kind: Literal["confirm"] = "confirm"
    first: FrameIndex
    last: FrameIndex
    right: bool = True


class Undo(_Edit):
    """The last correction that holds does not hold."""

    kind: Literal["undo"] = "undo"


class Redo(_Edit):
    """The correction undone last holds again."""

    kind: Literal["redo"] = "redo"


Change = RenameClass | SetClass | Merge | Split | Swap | Delete | SetMask | AddTrack | Confirm
"""What changes the results."""
Edit = Annotated[Change | Undo | Redo, Field(discriminator="kind")]
"""What the journal holds."""

_READER: TypeAdapter[Change | Undo | Redo] = TypeAdapter(Edit)


def read_edit(value: object, where: str) -> Change | Undo | Redo:
    """A correction from its JSON value.

    Raises:
        DatasetError: it is none; the message names ``where`` and the key.
    """
    try:
        return _READER.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][1:])
        raise DatasetError(f"{where}: not a correction, {key + ': ' if key else ''}{first['msg']}") from error


def described(edit: Change | Undo | Redo) -> str:
    """For people, in a few words."""
    match edit:
        case RenameClass():
            return f"class “{edit.old}” is “{edit.new}”"
        case SetClass():
            return f"#{edit.track} is “{edit.name}”"
        case Merge():
            return f"#{edit.other} merged into #{edit.into}"
        case Split():
            return f"#{edit.track} split at frame {edit.frame}"
        case Swap():
            return f"#{edit.first} and #{edit.second} swapped from frame {edit.frame} on"
        case Delete():
            if edit.first is None and edit.last is None:
                return f"#{edit.track} deleted"
            first = "the beginning" if edit.first is None else f"frame {edit.first}"
            return f"#{edit.track} deleted from {first} to {'the end' if edit.last is None else f'frame {edit.last}'}"
        case SetMask():
            return f"#{edit.track} {'absent' if edit.counts is None else 'mask fixed'} in frame {edit.frame}"
        case AddTrack():
            return f"“{edit.name}” added in frame {edit.frame}"
        case Confirm():
            frames = f"frame {edit.first}" if edit.first == edit.last else f"frames {edit.first} to {edit.last}"
            return f"{frames} {'confirmed' if edit.right else 'open again'}"
        case Undo():
            return "undo"
        case Redo():
            return "redo"
