"""Files of our own, JSON and TOML checked by their schema where they are read: whatever is in them, one line says why.

Afterwards the values have the types they should have, and nobody asks again.
"""

import json
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from fewmask.errors import DatasetError, FewmaskError

Checked = TypeVar("Checked")
MOST_BYTES = 1 << 30


def read_json(
    path: Path, kind: type[Checked], advice: str, *, error: type[FewmaskError] = DatasetError, strict: bool = False
) -> Checked:
    """The JSON document in ``path`` as ``kind``: a pydantic model, a dataclass, or any type that pydantic can check.

    Args:
        advice: what to do when it is damaged, the end of the message.
        error: what is raised.
        strict: take no number for text and the like.

    Raises:
        FewmaskError: of the class ``error``: missing, too large, no JSON, or not of that kind.
    """
    try:
        text = _text(path, advice, error)
        document = json.loads(text, parse_constant=_no_constant)
    except ValueError as wrong:  # numbers of thousands of digits are ValueErrors too
        raise error(f"{path}: not valid JSON ({wrong}); {advice}") from wrong
    except (RecursionError, MemoryError) as wrong:
        raise error(f"{path}: nested too deeply or too large; {advice}") from wrong
    return checked(document, kind, str(path), advice, error=error, strict=strict)


def read_toml(path: Path, kind: type[Checked], advice: str, *, error: type[FewmaskError] = DatasetError) -> Checked:
    """The same of a TOML file."""
    try:
        document = tomllib.loads(_text(path, advice, error))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as wrong:  # tomllib is not always exact
        raise error(f"{path}: not valid TOML ({wrong}); {advice}") from wrong
    except (RecursionError, MemoryError) as wrong:
        raise error(f"{path}: nested too deeply or too large; {advice}") from wrong
    return checked(document, kind, str(path), advice, error=error)


def checked(
    value: Any, kind: type[Checked], where: str, advice: str, *, error: type[FewmaskError] = DatasetError,
    strict: bool = False,
) -> Checked:  # fmt: skip
    """A plain value as ``kind``; the message of ``error`` begins with ``where`` and names the key."""
    try:
        return TypeAdapter(kind).validate_python(value, strict=strict or None)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        key = ".".join(str(part)[:60] for part in first["loc"])
        raise error(f"{where}: {key + ': ' if key else ''}{first['msg']}; {advice}") from wrong
    except FewmaskError as wrong:  # a dataclass that checks itself
        raise error(f"{where}: {wrong}") from wrong
    except (RecursionError, OverflowError, ValueError, TypeError) as wrong:
        raise error(f"{where}: {wrong}; {advice}") from wrong


@contextmanager
def reading_arrays(path: Path, advice: str, *, error: type[FewmaskError] = DatasetError) -> Iterator[None]:
    """Around what reads ``path`` with NumPy: whatever zip, NumPy and the values make of damage becomes ``error``."""
    try:
        yield
    except FileNotFoundError as wrong:
        raise error(f"{wrong.filename}: missing; {advice}") from wrong
    except (
        OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, EOFError, MemoryError, OverflowError,
        SyntaxError, TokenError, zipfile.BadZipFile, zipfile.LargeZipFile,
    ) as wrong:  # fmt: skip
        reason = next(iter(str(wrong).strip().splitlines()), type(wrong).__name__)[:200]
        raise error(f"{path}: damaged ({reason}); {advice}") from wrong


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _text(path: Path, advice: str, error: type[FewmaskError]) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise error(f"{path}: larger than {MOST_BYTES} bytes; {advice}")
        return path.read_text(encoding="utf-8-sig")
    except OSError as wrong:
        raise error(f"{path}: cannot be read ({wrong.strerror or wrong}); {advice}") from wrong
    except UnicodeDecodeError as wrong:
        raise error(f"{path}: not valid UTF-8 at byte {wrong.start}; {advice}") from wrong
