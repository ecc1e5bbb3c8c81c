"""The folder a verb writes into: its manifest, its spool, and the rules for resuming."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import fewmask
from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.atomic import write_json
from fewmask.media.container import without_password
from fewmask.media.spool import ResultSpool

_MANIFEST = "manifest.json"
_SPOOL = "results.spool"


class RunDirectory:
    """One run and its ``manifest.json``; make it with `create`.

    Attributes:
        path: the folder.
        manifest: what ``manifest.json`` holds; changed through `update`, `finish` and `fail` alone.
        resumed: True when an earlier run is being continued.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], *, resumed: bool) -> None:
        self.path = path
        self.manifest = manifest
        self.resumed = resumed

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        command: Sequence[str],
        inputs: Mapping[str, Any],
        settings: Mapping[str, Any],
        resume: bool,
    ) -> "RunDirectory":
        """Make the folder, or continue the run in it.

        Args:
            path: the folder; made if missing.
            command: the command line, as typed.
            inputs: name -> what is read: a path (recorded with size and modification time), an address, a number, or
                a list of them. The same size and time are taken as the same content.
            settings: everything else that decides the result, as plain JSON values. Those with "seed" in their name are
                listed under "seeds" as well.
            resume: continue a run whose inputs and settings equal these; an empty or missing folder starts afresh.

        Raises:
            ConfigError: the folder is not empty and ``resume`` is False; it cannot be written; it holds no run; or
                the run in it had another input or setting, which the message names.
        """
        folder = Path(path)
        wanted = {"inputs": {name: _described(value) for name, value in inputs.items()}, "settings": dict(settings)}
        wanted = json.loads(json.dumps(wanted))  # as it will be read back
        try:
            folder.mkdir(parents=True, exist_ok=True)
            occupied = any(not entry.name.startswith(".") for entry in folder.iterdir())
        except OSError as error:
            raise ConfigError(
                f"{folder}: cannot be made a run's folder ({error.strerror}); use another --out"
            ) from error
        if occupied and not resume:
            raise ConfigError(f"{folder}: is not empty; add --resume to continue a run, or use another --out")
        manifest = _read_manifest(folder) if occupied else _new_manifest(wanted)
        if occupied:
            _check_equal(folder, manifest, wanted)
        manifest.update(
            command=[_without_password(word) for word in command],
            status="running",
            error=None,
            versions=_versions(),
            updated=_now(),
        )
        run = cls(folder, manifest, resumed=occupied)
        try:
            run._write()
            _remove_unfinished_files(folder)
        except (FewmaskError, OSError) as error:
            raise ConfigError(f"{folder}: cannot be written; use another --out") from error
        return run

    @property
    def status(self) -> Literal["running", "finished", "failed"]:
        """How far the run is; a killed one still says "running"."""
        status: Literal["running", "finished", "failed"] = self.manifest["status"]
        return status

    @cached_property
    def spool(self) -> ResultSpool:
        """The per-frame records of this run, opened (and repaired) at first use."""
        return ResultSpool(self.path / _SPOOL)

    def update(self, progress: Mapping[str, Any]) -> None:
        """Note progress, e.g. ``{"frames": 120}``; values given replace the earlier ones of that name."""
        self.manifest["progress"] = {**self.manifest["progress"], **progress}
        self._write()

    def finish(self) -> None:
        """Note that everything is done, and close the spool."""
        self._end("finished", None)

    def fail(self, message: str) -> None:
        """Note why the run stopped, and close the spool; what was written so far stays."""
        self._end("failed", message)

    def _end(self, status: str, message: str | None) -> None:
        if "spool" in self.__dict__:
            self.spool.close()
            del self.__dict__["spool"]
        self.manifest.update(status=status, error=message, finished=_now())
        self._write()

    def _write(self) -> None:
        self.manifest["updated"] = _now()
        write_json(self.path / _MANIFEST, self.manifest, indent=1)


def _remove_unfinished_files(folder: Path) -> None:
    """Drop what a killed run left half written under a temporary name; see `fewmask.media.atomic.whole_file`."""
    for leftover in folder.glob(".*.part*"):
        leftover.unlink(missing_ok=True)


def _new_manifest(wanted: dict[str, Any]) -> dict[str, Any]:
    seeds = {name: value for name, value in wanted["settings"].items() if "seed" in name}
    return {**wanted, "seeds": seeds, "progress": {}, "started": _now(), "finished": None}


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = {"inputs", "settings", "progress"} - manifest.keys()
    except FileNotFoundError as error:
        raise ConfigError(f"{folder}: holds no {_MANIFEST}, so there is no run to resume; use another --out") from error
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: cannot be read as a manifest; use another --out") from error
    if missing:
        raise ConfigError(f"{path}: is not the manifest of a run; use another --out")
    return manifest


def _check_equal(folder: Path, manifest: dict[str, Any], wanted: dict[str, Any]) -> None:
    for part, what in (("inputs", "input"), ("settings", "setting")):
        before, now = manifest[part], wanted[part]
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                raise ConfigError(
                    f"{folder}: cannot resume, the {what} {name} was {_short(before.get(name))} "
                    f"and is {_short(now.get(name))}; repeat it as it was, or use another --out"
                )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _described(value: Any) -> Any:
    """An input as the manifest records it; files and folders with what tells that they changed."""
    if isinstance(value, Mapping):
        return {name: _described(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    if not isinstance(value, str | Path):
        return value
    path = Path(value).expanduser()
    if path.is_dir():
        entries = [entry.stat() for entry in os.scandir(path) if entry.is_file()]
        size, changed = (
            sum(entry.st_size for entry in entries),
            max((entry.st_mtime_ns for entry in entries), default=0),
        )
        return {"path": str(path.resolve()), "files": len(entries), "size": size, "mtime_ns": changed}
    if path.is_file():
        facts = path.stat()
        return {"path": str(path.resolve()), "size": facts.st_size, "mtime_ns": facts.st_mtime_ns}
    return _without_password(str(value))


def _without_password(text: str) -> str:
    return without_password(text) if "://" in text else text


def _versions() -> dict[str, str]:
    versions = {"fewmask": fewmask.__version__, "python": platform.python_version()}
    for name in ("torch", "transformers"):
        module = sys.modules.get(name)
        if module is not None:
            versions[name] = str(getattr(module, "__version__", "unknown"))
    return versions


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
