"""Which groups are taught: those that the user picks, or else the large, tight and confident ones."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fewmask.errors import ConfigError
from fewmask.pipelines.grow.groups import Group

MOST = 3
"""Groups that are taught by default."""
LEAST_VIDEOS = 2
LEAST_CONFIDENCE = 0.4
LEAST_TIGHTNESS = 0.45


class GroupChoice(BaseModel):
    """What a choice file may say; numbers are those of the contact sheets.

    Example:
        {"merge": [[1, 4]], "pick": [1, 3], "drop": [2], "names": {"1": "dog"}}
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    merge: list[list[int]] = Field(default_factory=list, description="groups that are one; the first number stays")
    pick: list[int] = Field(default_factory=list, description="only these are taught; empty = the best of the rest")
    drop: list[int] = Field(default_factory=list, description="these are not taught")
    names: dict[int, str] = Field(default_factory=dict, description="class names by number")


@dataclass(frozen=True)
class Choice:
    """Groups to teach, and the others, whose tracks show what is *not* meant."""

    taught: tuple[Group, ...]
    others: tuple[Group, ...] = field(default=())


def read_choice(path: Path) -> GroupChoice:
    """A choice file.

    Raises:
        ConfigError: unreadable, not JSON, or not a choice; the message names the key.
    """
    try:
        return GroupChoice.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {key}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON ({error})") from error


def choose(groups: Sequence[Group], asked: GroupChoice | None = None, *, most: int = MOST) -> Choice:
    """Apply a choice.

    Raises:
        ConfigError: it names a group that is not there, or leaves none although it picks some.
    """
    asked = asked or GroupChoice()
    known = {group.number: group for group in groups}
    named = [*asked.pick, *asked.drop, *asked.names, *(number for numbers in asked.merge for number in numbers)]
    unknown = sorted(set(named) - known.keys())
    if unknown:
        there = f"1 to {len(known)}" if known else "none"
        raise ConfigError(f"group {unknown[0]} is not there; the groups are {there}")
    for numbers in asked.merge:
        first, *rest = numbers
        for number in rest:
            if number in known and number != first:
                known[first] = merged(known[first], known.pop(number))
    for number, name in asked.names.items():
        if number in known:
            known[number] = replace(known[number], name=name)
    left = [group for number, group in known.items() if number not in asked.drop]
    if asked.pick:
        taught = [group for group in left if group.number in asked.pick]
    else:
        taught = sorted((group for group in left if _worthwhile(group)), key=lambda group: -group.worth)[:most]
    chosen = {group.number for group in taught}
    return Choice(tuple(taught), tuple(group for number, group in known.items() if number not in chosen))


def merged(one: Group, other: Group) -> Group:
    """Two groups as one, under the number and name of the first; likeness stays that within the former groups."""
    pairs = sorted(
        [*zip(one.likeness, one.members, strict=True), *zip(other.likeness, other.members, strict=True)],
        key=lambda pair: (-pair[0], pair[1]),
    )
    ours, theirs = len(one.members), len(other.members)
    return Group(
        one.number,
        one.name,
        tuple(member for _, member in pairs),
        tuple(likeness for likeness, _ in pairs),
        float(np.average([one.tightness, other.tightness], weights=[ours, theirs])),
        float(np.average([one.confidence, other.confidence], weights=[ours, theirs])),
        max(one.videos, other.videos),
    )


def _worthwhile(group: Group) -> bool:
    return group.videos >= LEAST_VIDEOS and group.confidence >= LEAST_CONFIDENCE and group.tightness >= LEAST_TIGHTNESS
