"""Files of a stage under a second, lasting name, without their bytes twice on the disk."""

import shutil
from collections.abc import Iterable
from pathlib import Path


def linked_copy(source: Path, name: Path, parts: Iterable[str] | None = None) -> Path:
    """A copy under a lasting name, by hard links where the file system has them; replaces an earlier one whole.

    Args:
        source: folder of a stage, or below it.
        name: of the copy.
        parts: names of the files and folders in ``source`` that are meant, None = all.
    """
    fresh = name.with_name(f".{name.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for part in sorted(path.name for path in source.iterdir()) if parts is None else parts:
        if (source / part).is_dir():
            shutil.copytree(source / part, fresh / part, copy_function=_link)
        else:
            _link(str(source / part), str(fresh / part))
    shutil.rmtree(name, ignore_errors=True)
    fresh.rename(name)
    return name


def _link(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
