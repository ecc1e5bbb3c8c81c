"""Bounded reading of JSON annotation files, and checked access to their entries.

A file is looked at before it is parsed (size, first and last bytes, syntax of the first part), so that half a gigabyte
of nonsense costs no memory and gives one line. Entries are then read through small functions that name the file, the
entry and the key when something is wrong.
"""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from fewmask.errors import DatasetError

MAX_BYTES = 4 << 30
"""Largest JSON file that is parsed (4 GiB); the largest public annotation file, COCO train, has 0.5 GiB."""
MAX_SIDE = 1 << 14
"""Largest image height or width in pixels; beyond it run lengths and polygons no longer fit the mask coder."""
_PREFIX = 1 << 16
_LONGEST_NAME, _LONGEST_PART = 3000, 255
"""Characters of a path, bytes of a part of it: what file systems take, with room for the folder before it."""


def load_object(path: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        DatasetError: the file is missing, larger than ``max_bytes``, truncated, not UTF-8 JSON, or not an object.
    """
    try:
        _look(path, max_bytes)
        document: dict[str, Any] = json.loads(path.read_bytes())
        return document
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise DatasetError(f"{path}: not valid JSON at {where} ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not valid UTF-8 at byte {error.start}; save it as UTF-8") from error
    except RecursionError as error:
        raise DatasetError(f"{path}: JSON nested too deeply to be an annotation file") from error
    except ValueError as error:  # an integer of thousands of digits
        raise DatasetError(f"{path}: not valid JSON ({str(error).splitlines()[0]})") from error
    except MemoryError as error:
        raise DatasetError(f"{path}: does not fit into memory; split it") from error


def _look(path: Path, max_bytes: int) -> None:
    """Refuse what cannot be a JSON object from its size and its first and last bytes alone."""
    size = path.stat().st_size
    if size > max_bytes:
        raise DatasetError(
            f"{path}: {size} bytes is more than the limit of {max_bytes} for an annotation file; split it"
        )
    with path.open("rb") as handle:
        head = handle.read(_PREFIX)
        handle.seek(max(0, size - _PREFIX))
        tail = handle.read(_PREFIX).rstrip()
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first == b"[":
        raise DatasetError(f"{path}: expected a JSON object {{...}}, found a list, as result files are")
    if first != b"{":
        raise DatasetError(f"{path}: not a JSON annotation file (it begins with {head[:8]!r})")
    if size > _PREFIX:
        _look_at_syntax(path, head)
    if not tail.endswith(b"}"):
        raise DatasetError(f"{path}: truncated JSON (it ends with {tail[-8:]!r}); fetch or export the file again")


def _look_at_syntax(path: Path, head: bytes) -> None:
    """Refuse a large file whose first part already breaks JSON; what the cut itself breaks is let through."""
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
        if text[end:].strip():
            raise json.JSONDecodeError("Extra data", text, end)
    except json.JSONDecodeError as error:
        near_cut = error.pos > len(text) - 64 or error.msg.startswith("Unterminated string")
        if not near_cut:
            where = f"line {error.lineno} column {error.colno}"
            raise DatasetError(f"{path}: not valid JSON at {where} ({error.msg})") from error


def entries(document: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """``document[key]``, a list of objects.

    Raises:
        DatasetError: the key is missing, is not a list, or holds something that is not an object.
    """
    value = field(document, key, list, where)
    for index, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise DatasetError(f"{where}: {key}[{index}] is {_kind(entry)}, expected an object")
    return list(value)


def field(entry: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    """``entry[key]``, which must be of JSON type ``kind`` (list, dict or str).

    Raises:
        DatasetError: the key is missing or of another type.
    """
    if key not in entry:
        raise DatasetError(f"{where}: key {key!r} is missing")
    value = entry[key]
    if not isinstance(value, kind):
        raise DatasetError(f"{where}: {key!r} is {_kind(value)}, expected {_NAMES[kind]}")
    return value


def integer(entry: Mapping[str, Any], key: str, where: str, *, low: int = 0, high: int = 2**53) -> int:
    """``entry[key]``, a whole number in [low, high]; 3.0 counts as 3.

    Raises:
        DatasetError: the key is missing, not a whole number, or out of range.
    """
    value = number(entry, key, where)
    if value != int(value) or not low <= value <= high:
        raise DatasetError(f"{where}: {key!r} is {_short(entry[key])}, expected a whole number in [{low}, {high}]")
    return int(value)


def number(entry: Mapping[str, Any], key: str, where: str) -> float | int:
    """``entry[key]``, a finite number.

    Raises:
        DatasetError: the key is missing, or no finite number.
    """
    if key not in entry:
        raise DatasetError(f"{where}: key {key!r} is missing")
    value = entry[key]
    if not is_number(value):
        raise DatasetError(f"{where}: {key!r} is {_short(value)}, expected a finite number")
    return value  # type: ignore[no-any-return]


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite int or float (bool is not a number)."""
    if type(value) is int:
        return abs(value) < 1 << 62
    return type(value) is float and math.isfinite(value)


def all_numbers(values: Sequence[Any]) -> bool:
    """Whether every value is a finite number; quick enough for millions of polygon coordinates."""
    if not set(map(type, values)) <= {int, float}:
        return False
    try:
        return math.isfinite(float(sum(values)))
    except OverflowError:
        return False


def image_size(entry: Mapping[str, Any], where: str) -> tuple[int, int]:
    """``(height, width)`` of an image or video entry, each in [1, MAX_SIDE].

    Raises:
        DatasetError: a key is missing or out of range.
    """
    return integer(entry, "height", where, low=1, high=MAX_SIDE), integer(entry, "width", where, low=1, high=MAX_SIDE)


def relative_name(name: Any, where: str) -> str:
    """``name`` if it is a relative path, in POSIX or Windows form, that stays inside the folder it is joined to.

    Raises:
        DatasetError: it is not a string, is empty, absolute, climbs with ``..``, holds control characters, or is longer
            than file systems take.
    """
    if not isinstance(name, str) or not name:
        raise DatasetError(f"{where}: {_short(name)} is not a file name")
    # \udc80 to \udcff stand for the bytes of names on disk that are no UTF-8.
    if re.search(r"[\x00-\x1f\ud800-\udc7f\udd00-\udfff]", name):
        raise DatasetError(f"{where}: file name {name!a} holds control characters")
    if len(name) > _LONGEST_NAME or max(len(os.fsencode(part)) for part in name.split("/")) > _LONGEST_PART:
        raise DatasetError(f"{where}: file name {name[:40]!a}... is longer than a file's name can be")
    windows = PureWindowsPath(name)
    parts = set(PurePosixPath(name).parts) | set(windows.parts)
    if ".." in parts or windows.drive or windows.root or name.startswith("/"):
        raise DatasetError(f"{where}: file name {name!r} leaves the dataset folder; use a path relative to it")
    return name


def path_inside(root: Path, name: str, where: str) -> Path:
    """``root / name``, checked also through symbolic links not to leave ``root``.

    Raises:
        DatasetError: the path leaves ``root``.
    """
    path = root / relative_name(name, where)
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a loop of links
        inside = False
    if not inside:
        raise DatasetError(f"{where}: file name {name!r} leads outside {root}; use files inside it")
    return path


_NAMES: dict[type, str] = {list: "a list", dict: "an object", str: "a string"}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if value is None:
        return "null"
    return _NAMES.get(type(value), "a number")


def _short(value: Any) -> str:
    """``value`` on one short line, for a message."""
    if isinstance(value, int) and abs(value) >= 1 << 62:
        return "an integer beyond 62 bits"
    text = ascii(value) if isinstance(value, str | int | float | bool | None) else _kind(value)
    return text if len(text) <= 60 else text[:57] + "..."
