"""Recipe files: TOML, checked once when read."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from fewmask.errors import ConfigError
from fewmask.media import own_files

Recipe = TypeVar("Recipe", bound=BaseModel)
_ADVICE = "see recipes/ for examples"


def read_recipe(path: Path, kind: type[Recipe]) -> Recipe:
    """A recipe file of one kind.

    Raises:
        ConfigError: missing, not TOML, or a key or value that cannot be; the message names it.
    """
    return checked(read_toml(path), kind, str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        ConfigError: missing, or not TOML.
    """
    return own_files.read_toml(path, dict[str, Any], _ADVICE, error=ConfigError)


def checked(values: dict[str, Any], kind: type[Recipe], where: str) -> Recipe:
    """Values as settings of one kind.

    Raises:
        ConfigError: a key or value that cannot be; the message names it, after ``where``.
    """
    return own_files.checked(values, kind, where, _ADVICE, error=ConfigError)
