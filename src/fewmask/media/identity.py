"""What an input *is*, so that a resumed run refuses another one: by content, not by place or time.

A touched or copied file with the same bytes is the same input. Files up to 64 MiB are read whole. Of a larger one the
size and 65 blocks of 64 KiB are read: the first, the middle, the last and others evenly between; a change that keeps
the size and touches none of them is not seen. Of many files each gets a share of 256 MiB; those larger than their share
are read at their start, middle and end, 4 KiB each at least. Of more than 10,000 files all names and sizes, and the
contents of 10,000 spread evenly, are read.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.addresses import address_digest, is_address, showable
from fewmask.errors import ConfigError
from fewmask.media.given_path import expanded
from fewmask.media.writer_lock import LOCK_FILE

_WHOLE_BYTES = 64 << 20
_BLOCKS, _BLOCK_BYTES = 65, 64 << 10
_ALL_BYTES = 256 << 20
_LEAST_BYTES = 3 * 4096
_MOST_READ = 10_000  # files of a list whose contents are read


@dataclass(frozen=True)
class Noted:
    """An input of which only the place is noted and nothing compared, because what it gave is."""

    path: str | Path


def identity(value: Any) -> Any:
    """An input as a manifest records it, plain JSON values; equal for equal contents but for its key "path".

    Args:
        value: a path of a file or folder, a glob, an address, a list or mapping of them; anything else (a number, a
            name, None) stands for itself.

    Raises:
        ConfigError: a file is there and cannot be read.
    """
    if isinstance(value, Noted):
        return {"path": showable(str(value.path)), "sha256": None}
    if isinstance(value, Mapping):
        return {name: identity(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return _of_list(value)
    if is_address(value):
        return {"path": showable(value), "sha256": address_digest(value)}
    if not isinstance(value, str | Path):
        return value
    path = expanded(value)
    try:
        if path.is_dir():
            return {"path": str(path.resolve()), **_of_files(path, list(_files_below(path)))}
        if path.is_file():
            return {"path": str(path.resolve()), "size": path.stat().st_size, "sha256": _digest(path, _WHOLE_BYTES)}
        matches = _matches(str(path))
        if matches:
            return {"path": str(path), **_of_files(None, matches)}
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: cannot be read ({error.strerror}); check the input") from error
    return showable(str(value))  # an address with a slash too few is a path that leads nowhere


def same_input(before: Any, now: Any) -> bool:
    """Whether two answers of `identity` are of the same content."""
    return bool(_content(before) == _content(now))


def _content(value: Any) -> Any:
    if isinstance(value, Mapping):
        is_file = "sha256" in value
        return {name: _content(item) for name, item in value.items() if not (is_file and name == "path")}
    return [_content(item) for item in value] if isinstance(value, list) else value


def _of_list(values: Sequence[Any]) -> Any:
    """Many files as one digest, with their names; a list of other things one by one."""
    paths = [expanded(value) for value in values if isinstance(value, str | Path) and not is_address(value)]
    if len(paths) == len(values) > 1 and all(path.is_file() for path in paths):
        return {"path": str(paths[0].parent), **_of_files(None, paths)}
    return [identity(value) for value in values]


def _of_files(folder: Path | None, files: Sequence[Path]) -> dict[str, Any]:
    """One digest over names (counted from ``folder``, else the last part), sizes and contents, in the order given."""
    budget = max(_LEAST_BYTES, min(_WHOLE_BYTES, _ALL_BYTES // max(1, len(files))))
    read = {len(files) * i // _MOST_READ for i in range(_MOST_READ)} if len(files) > _MOST_READ else None
    digest, total = hashlib.sha256(), 0
    for place, file in enumerate(files):
        name = file.name if folder is None else file.relative_to(folder).as_posix()
        size = file.stat().st_size
        total += size
        digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
        if read is None or place in read:
            digest.update(_digest(file, budget).encode())
    return {"files": len(files), "size": total, "sha256": digest.hexdigest()}


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file but hidden ones, in the order of their names; runs that were written into the folder are no part."""
    for place, folders, files in os.walk(folder):
        if Path(place) != folder and (LOCK_FILE in files or "manifest.json" in files):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def _matches(pattern: str) -> list[Path]:
    import glob

    if not glob.has_magic(pattern):
        return []
    found = (Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns
    return sorted(path for path in found if path.is_file())


def _digest(path: Path, budget: int) -> str:
    """SHA-256 of the size and as much of the content as ``budget`` bytes allow."""
    with path.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        digest = hashlib.sha256(str(size).encode())
        if size <= budget:
            while chunk := handle.read(1 << 20):
                digest.update(chunk)
            return digest.hexdigest()
        blocks, length = (_BLOCKS, _BLOCK_BYTES) if budget >= _BLOCKS * _BLOCK_BYTES else (3, budget // 3)
        for i in range(blocks):
            handle.seek((size - length) * i // (blocks - 1))
            digest.update(handle.read(length))
    return digest.hexdigest()
