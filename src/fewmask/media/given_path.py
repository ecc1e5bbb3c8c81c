"""A path as a user's program gives it."""

import os
from pathlib import Path

from fewmask.errors import FewmaskError


def given_path(value: object, what: str, error: type[FewmaskError] = FewmaskError) -> Path:
    """``value`` as a path, ``~`` resolved.

    Args:
        value: a string or path; anything else is refused.
        what: what the path is of, for the message.
        error: what to raise.

    Raises:
        FewmaskError: it is no path, or an empty one; of the type ``error``.
    """
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        shown = f"of type {type(value).__name__}" if not isinstance(value, str) else repr(value)
        raise error(f"{what} is {shown}; give a path")
    return expanded(value)


def expanded(path: str | Path) -> Path:
    """The path with ``~`` resolved; that of a user who is not there stays as it is, and is then not found."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where there is no such user


def is_there(path: str | Path) -> bool:
    """Whether a path leads to something; one that the system cannot even ask for, too long or with a NUL, does not."""
    try:
        return expanded(path).exists()
    except (OSError, RuntimeError, ValueError):
        return False
