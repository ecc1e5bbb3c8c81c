"""Folders that appear whole or not at all: filled under a temporary name, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewmask.errors import DatasetError


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; when the block ends without error it becomes ``path``.

    Raises:
        DatasetError: ``path`` exists and is not an empty folder, or cannot be written.
    """
    refuse_overwrite(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_overwrite(path: Path) -> None:
    """Raise DatasetError if ``path`` exists and is not an empty folder."""
    if path.is_symlink() or path.exists():
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            return
        raise DatasetError(f"{path}: exists already; choose another name or remove it")
