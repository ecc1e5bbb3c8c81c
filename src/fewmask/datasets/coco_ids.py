"""Ids and categories of COCO files as different tools write them, brought to whole numbers and one name a class."""

from collections.abc import Mapping
from typing import Any

from fewmask.datasets import json_file
from fewmask.errors import DatasetError


class Ids:
    """Ids of one list of a file: whole numbers stay, text of digits becomes its number, other text is numbered on.

    Text that is no number gets the next numbers behind the largest one of the list, in the order of the list.
    """

    def __init__(self, document: Mapping[str, Any], key: str) -> None:
        listed = document.get(key)
        values = [entry.get("id") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        texts = dict.fromkeys(value for value in values if isinstance(value, str) and _number(value) is None)
        numbers = [value for value in values if type(value) is int]
        numbers += [number for value in values if isinstance(value, str) and (number := _number(value)) is not None]
        first = max((number for number in numbers if 0 <= number < 2**52), default=0) + 1
        self._numbers = {text: number for number, text in enumerate(texts, start=first)}

    def number_of(self, value: object) -> int | None:
        """The number of an id as the file writes it; None where it is none."""
        if isinstance(value, str):
            number = _number(value)
            return self._numbers.get(value) if number is None else number
        return int(value) if json_file.is_number(value) and value == int(value) else None  # type: ignore[call-overload]

    def of(self, entry: Mapping[str, Any], key: str, where: str) -> int:
        """The id in ``entry[key]``.

        Raises:
            DatasetError: it is missing, or neither a whole number nor text that the list has.
        """
        value = entry.get(key)
        if not isinstance(value, str):
            return json_file.integer(entry, key, where)
        number = self.number_of(value)
        if number is None:
            raise DatasetError(f"{where}: {key!r} {value[:40]!a} is no id of this file")
        return number


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None


def category_names(
    document: Mapping[str, Any], name: str, ids: Ids, used: frozenset[int] | None = None
) -> dict[int, str]:
    """Category id -> name; a class without a name is called after its id.

    Tools add entries that are no class of their own: Roboflow puts its project first, as the root of the others. An
    entry that no annotation uses gives way to another of the same name, and goes where it is the supercategory of
    others and has none itself.

    Args:
        document: COCO-like, with "categories".
        name: of the file, for messages.
        ids: of the list of categories.
        used: ids that annotations use; None = nothing gives way.

    Raises:
        DatasetError: missing or malformed, an id that is there twice, or a name that two used ids have.
    """
    entries = json_file.entries(document, "categories", name)
    above = {title for entry in entries if isinstance(title := entry.get("supercategory"), str)}
    found: dict[int, str] = {}
    for index, entry in enumerate(entries):
        where = f"{name}: categories[{index}]"
        key = ids.of(entry, "id", where)
        if key in found:
            raise DatasetError(f"{where}: id {key} is there twice")
        found[key] = _name_of(entry, key, where)
    if used is not None:
        taken = {title for key, title in found.items() if key in used}
        kept: dict[int, str] = {}
        for (key, title), entry in zip(found.items(), entries, strict=True):
            is_root = title in above and entry.get("supercategory") in (None, "none", "")
            if key in used or not (is_root or title in taken or title in kept.values()):
                kept[key] = title
        found = kept or found
    titles: dict[str, int] = {}
    for key, title in found.items():
        if title in titles:
            raise DatasetError(f"{name}: categories {titles[title]} and {key}: name {title!r} is there twice")
        titles[title] = key
    return found


def _name_of(entry: Mapping[str, Any], key: int, where: str) -> str:
    title = entry.get("name")
    if title is None or title == "":
        return f"class_{key}"
    if type(title) is int:
        return str(title)
    text: str = json_file.field(entry, "name", str, where)
    return text
