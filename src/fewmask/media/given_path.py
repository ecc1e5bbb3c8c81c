"""A path as a user's program gives it."""

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
    return Path(value).expanduser()
