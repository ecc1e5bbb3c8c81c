"""The objects of a JSON list one by one, so that a large result file is checked as it is parsed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewmask.errors import DatasetError

_DECODER = json.JSONDecoder()
_WHITE_SPACE = re.compile(r"[ \t\n\r]*")


def iterate_json_list(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of the list that a JSON file holds, in order.

    Half a gigabyte of nonsense is refused at its first byte or its first entry; parsing all of it would need ten times
    its size in memory.

    Raises:
        DatasetError: the file cannot be read, is not UTF-8 JSON, is not a list, or an entry is not an object.
    """
    text = _text(path)
    position = _skip(text, _skip(text, 0) + 1)
    if text[position : position + 1] == "]":
        _expect_end(path, text, position + 1)
        return
    index = 0
    while True:
        try:
            value, position = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno} column {error.colno}"
            raise DatasetError(
                f"{path}: not valid JSON in entry [{index}], {place} ({error.msg}); is the file cut short?"
            ) from error
        except RecursionError as error:
            raise DatasetError(f"{path}: entry [{index}] is nested too deeply for a result file") from error
        except ValueError as error:  # an integer of thousands of digits
            raise DatasetError(f"{path}: entry [{index}] is not valid JSON ({str(error).splitlines()[0]})") from error
        if type(value) is not dict:
            raise DatasetError(f"{path}: entry [{index}] is not an object {{...}}; every result is one")
        yield value
        position = _skip(text, position)
        follows = text[position : position + 1]
        if follows == "]":
            _expect_end(path, text, position + 1)
            return
        if follows != ",":
            found = f"{follows!a} follows" if follows else "the file ends"
            raise DatasetError(f"{path}: not valid JSON, {found} after entry [{index}]; is the file cut short?")
        position = _skip(text, position + 1)
        index += 1


def _text(path: Path) -> str:
    """The file as text, after a look at its first and last bytes."""
    try:
        with path.open("rb") as handle:
            head = handle.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
            if not head.startswith(b"["):
                found = "the file is empty" if not head else f"the file begins with {head[:12]!r}"
                raise DatasetError(f"{path}: expected a JSON list of results [...]; {found}")
            size = handle.seek(0, 2)
            handle.seek(max(0, size - 4096))
            tail = handle.read().rstrip()
            if not tail.endswith(b"]"):
                raise DatasetError(
                    f"{path}: cut short JSON, it ends with {tail[-12:]!r} and not with ]; export it again"
                )
            handle.seek(0)
            return handle.read().decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not valid UTF-8 at byte {error.start}; is it a JSON file?") from error


def _skip(text: str, position: int) -> int:
    """The next position that is not white space."""
    found = _WHITE_SPACE.match(text, position)
    return found.end() if found else position


def _expect_end(path: Path, text: str, position: int) -> None:
    if _skip(text, position) != len(text):
        raise DatasetError(f"{path}: not valid JSON, more text after the list")
