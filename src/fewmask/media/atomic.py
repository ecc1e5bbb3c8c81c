"""Files that appear whole or not at all: temporary name, fsync, rename."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fewmask.errors import FewmaskError
from fewmask.media.writer_lock import LOCK_FILE

_UMASK = os.umask(0o022)
os.umask(_UMASK)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends without error it becomes ``path``.

    The temporary file keeps the suffix, so that writers that choose a format by suffix work.

    Raises:
        FewmaskError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # some writers make files that their owner alone may read
        temporary.replace(path)
    except OSError as error:
        raise FewmaskError(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from error
    finally:
        with suppress(OSError):  # there is nothing to remove where nothing could be made
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Drop what killed runs left half written in and below ``folder``, which the caller has locked.

    A folder in it that another writer has locked is left alone.
    """
    for place, folders, files in os.walk(folder):
        if Path(place) != folder and LOCK_FILE in files:
            folders.clear()
            continue
        for name in [name for name in folders if _is_unfinished(name)]:
            folders.remove(name)
            shutil.rmtree(Path(place, name), ignore_errors=True)
        for name in filter(_is_unfinished, files):
            Path(place, name).unlink(missing_ok=True)


def remove_unfinished_of(target: Path) -> None:
    """Drop what killed runs left half written of the file or folder ``target``, which the caller has locked."""
    with suppress(OSError):
        for entry in target.parent.iterdir():
            if not _is_unfinished(entry.name) or not entry.name.startswith((f".{target.name}.", f".{target.stem}.")):
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") and re.search(r"\.part(\.\w+)?$", name) is not None


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` whole or not at all; bytes of names that are no UTF-8 become ``\\udcxx``."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write ``value`` as JSON to ``path`` whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=indent, allow_nan=False))
