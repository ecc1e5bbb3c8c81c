"""A folder under a second, lasting name, without its bytes twice on the disk."""

import shutil
from pathlib import Path


def linked_copy(source: Path, name: Path) -> Path:
    """A copy under a lasting name, by hard links where the file system has them; replaces an earlier one whole."""
    fresh = name.with_name(f".{name.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source, fresh, copy_function=_link, ignore=shutil.ignore_patterns("stage.json", "begun.json"))
    shutil.rmtree(name, ignore_errors=True)
    fresh.rename(name)
    return name


def _link(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
