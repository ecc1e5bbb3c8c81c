"""Recipe files: TOML, checked once when read."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fewmask.errors import ConfigError

Recipe = TypeVar("Recipe", bound=BaseModel)


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
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); see recipes/ for examples") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML ({error})") from error


def checked(values: dict[str, Any], kind: type[Recipe], where: str) -> Recipe:
    """Values as settings of one kind.

    Raises:
        ConfigError: a key or value that cannot be; the message names it, after ``where``.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {key + ': ' if key else ''}{first['msg']}") from error
