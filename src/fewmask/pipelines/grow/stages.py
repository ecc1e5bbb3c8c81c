"""The stages of a run, each in a folder of its own, done once and redone only when what goes into it has changed.

A stage is finished when its ``stage.json`` is there: what went in, what came out, how long it took. A run that is
resumed skips finished stages whose input is the same; the record of a stage is part of the next one's input, so a
change (another choice of groups) redoes what follows and nothing before.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.errors import ConfigError
from fewmask.media.atomic import write_json

RECORD = "stage.json"


@dataclass(frozen=True)
class Stage:
    """A finished stage.

    Attributes:
        name: "round-1/groups".
        folder: what it wrote.
        outcome: plain values that later stages and the report need.
        seconds: how long it took.
        digest: of its input and outcome; goes into the next stage's input.
    """

    name: str
    folder: Path
    outcome: Mapping[str, Any]
    seconds: float
    digest: str


class Stages:
    """The stages of one run.

    Args:
        folder: of the run.
        began: told the name of a stage that begins; nothing is told of one that was done before.
    """

    def __init__(self, folder: Path, began: Callable[[str], None] = lambda _: None) -> None:
        self._folder = folder
        self._began = began

    def run(
        self,
        name: str,
        given: Mapping[str, Any],
        work: Callable[[Path], Mapping[str, Any]],
        *,
        resumes: bool = False,
    ) -> Stage:
        """Do a stage, or find it done.

        Args:
            name: folder of the stage below the run's.
            given: everything that decides the outcome, as plain JSON values.
            work: does it in the folder it is given, which exists; returns plain values.
            resumes: a half-done stage goes on in its folder, as long as ``given`` is the same; otherwise it starts in
                an empty one.

        Raises:
            ConfigError: the record of a finished stage is damaged.
        """
        folder = self._folder / name
        given = json.loads(json.dumps(given))
        if (done := self._finished(folder, name, given)) is not None:
            return done
        begun = folder / "begun.json"
        goes_on = resumes and begun.is_file() and _read(begun).get("given") == given
        if folder.exists() and not goes_on:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(begun, {"given": given})
        self._began(name)
        started = time.monotonic()
        outcome = json.loads(json.dumps(work(folder), allow_nan=False))
        seconds = round(time.monotonic() - started, 1)
        write_json(folder / RECORD, {"given": given, "outcome": outcome, "seconds": seconds}, indent=1)
        return Stage(name, folder, outcome, seconds, _digest(given, outcome))

    def _finished(self, folder: Path, name: str, given: Mapping[str, Any]) -> Stage | None:
        path = folder / RECORD
        if not path.is_file():
            return None
        record = _read(path)
        if record.get("given") != given:
            return None
        outcome = record.get("outcome")
        if not isinstance(outcome, dict) or not isinstance(record.get("seconds"), int | float):
            raise ConfigError(f"{path}: damaged; delete the folder {folder} to do this stage again")
        return Stage(name, folder, outcome, float(record["seconds"]), _digest(given, outcome))


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: damaged; delete the folder {path.parent} to do this stage again") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{path}: damaged; delete the folder {path.parent} to do this stage again")
    return record


def _digest(given: Mapping[str, Any], outcome: Mapping[str, Any]) -> str:
    text = json.dumps([given, outcome], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
