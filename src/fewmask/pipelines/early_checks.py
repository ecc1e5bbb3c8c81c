"""What can be told wrong about a command within a moment, before torch and the networks are loaded."""

import glob
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.addresses import showable
from fewmask.errors import CheckpointError, ConfigError, VideoError
from fewmask.media.given_path import expanded, is_there


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a source before its first frame; as in `fewmask.media.frames.FrameSource`."""

    size: tuple[int, int]
    length: int | None
    is_live: bool


def check_source(source: str | Path | int, *, resume: bool, skip_broken: bool = False) -> SourceFacts:
    """Open the source and close it.

    Raises:
        VideoError: it cannot be opened.
        ConfigError: a live source cannot go on where an earlier run of it stopped.
    """
    text = str(source)
    if not isinstance(source, int) and "://" not in text and not glob.has_magic(text) and not is_there(source):
        raise VideoError(f"{source}: no such file or folder; check the path")  # told before NumPy and PyAV load

    from fewmask.media.frames import open_frames

    with open_frames(source, skip_broken=skip_broken) as frames:
        if resume and frames.is_live:
            raise ConfigError(f"{showable(str(source))}: a live source cannot be resumed; use another --out")
        return SourceFacts(frames.size, frames.length, frames.is_live)


def check_some(sources: Sequence[str | Path | int]) -> None:
    """Whether any of several sources can be there; of those that are not, a run that has others speaks by itself.

    Raises:
        VideoError: none is.
    """
    for source in sources:
        if isinstance(source, int) or "://" in str(source) or glob.has_magic(str(source)) or is_there(source):
            return
    if sources:
        others = "" if len(sources) == 1 else f", nor any of the {len(sources) - 1} after it"
        raise VideoError(f"{sources[0]}: no such file or folder{others}; check the path")


def check_free(out: Path, *, resume: bool) -> None:
    """Whether a run can begin in that folder.

    Raises:
        ConfigError: it holds something already, or a file is in its place.
    """
    try:
        occupied = any(not entry.name.startswith(".") for entry in out.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{out}: cannot be made a run's folder ({error.strerror}); use another --out") from error
    if occupied and not resume:
        raise ConfigError(f"{out}: is not empty; add --resume to continue a run, or use another --out")


def check_device(name: str) -> None:
    """Whether a device is called so at all; whether this machine has it is known later.

    Raises:
        ConfigError: it is not.
    """
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name) is None:
        raise ConfigError(f"device {name!r} is unknown; use auto, cpu, cuda, cuda:N or mps")


def check_weights(name: str | Path) -> None:
    """Whether a path to weights leads anywhere; a bare name may be a bundled network or one on the hub.

    Raises:
        CheckpointError: it looks like a path, and nothing is there.
    """
    path = expanded(name)
    is_path = isinstance(name, Path) or path.is_absolute() or str(name).startswith((".", "~")) or name.count("/") > 1
    if is_path and not is_there(path):
        raise CheckpointError(f"{name}: no such file or folder; give weights that are there")


def check_files(given: Mapping[str, Path | None]) -> None:
    """Whether the paths of some options lead anywhere.

    Args:
        given: option as typed -> its path, None where it was left out.

    Raises:
        ConfigError: the first that does not; the message names the option.
    """
    for option, path in given.items():
        if path is not None and not is_there(path):
            raise ConfigError(f"{path}: no such file or folder; look at {option}")


def check_choice(value: str | None, choices: Collection[str], what: str) -> None:
    """Whether a word is one of the choices; None is what was left out.

    Raises:
        ConfigError: it is none of them.
    """
    if value is not None and value not in choices:
        raise ConfigError(f"{what} {value!r} is unknown; choose from {', '.join(choices)}")
