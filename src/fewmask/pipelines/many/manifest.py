"""The list of videos that many workers share: a text file, one video a line."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.addresses import address_name, is_address
from fewmask.errors import ConfigError


@dataclass(frozen=True)
class ListedVideo:
    """One line: a video (path or address), and the name of its folder among the results."""

    name: str
    source: str


def read_manifest(path: Path) -> list[ListedVideo]:
    """Videos of a text file: a line is a source, or a name, a comma and a source; blank lines and # are passed over.

    Without a name it is the source's own, without suffix.

    Raises:
        ConfigError: no such file, no line, or two videos of one name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no text file with a video a line ({error})") from error
    videos: dict[str, ListedVideo] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            *named, source = next(csv.reader([line.strip()], skipinitialspace=True))
        except (csv.Error, ValueError) as error:
            raise ConfigError(f"{path}: line {number}: cannot be read ({error})") from error
        if "\0" in line:
            raise ConfigError(f"{path}: line {number}: holds a zero byte")
        name = named[0] if named else _own_name(source)
        if len(named) > 1 or not source or name in {"", ".", ".."} or "/" in name or "\\" in name:
            raise ConfigError(f"{path}: line {number}: give a source, or name,source; a name has no slashes")
        if name in videos:
            raise ConfigError(f"{path}: line {number}: a second video named {name}; put names before: name,source")
        videos[name] = ListedVideo(name, source if is_address(source) else str((path.parent / source).resolve()))
    if not videos:
        raise ConfigError(f"{path}: names no video")
    return list(videos.values())


def check_names(videos: Sequence[ListedVideo]) -> None:
    """Whether every name can be that of a video in a dataset: letters, digits, - and _.

    Raises:
        ConfigError: one cannot.
    """
    for video in videos:
        if not all(letter.isalnum() or letter in "-_" for letter in video.name):
            raise ConfigError(
                f"the name {video.name!r} of a video has more than letters, digits, - and _; put another before it in "
                "the manifest: name,source"
            )


def _own_name(source: str) -> str:
    return address_name(source) if is_address(source) else Path(source.rstrip("/")).stem
