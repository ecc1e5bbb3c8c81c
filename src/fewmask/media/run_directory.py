"""The folder a verb writes into: its manifest, its spool, and the rules for resuming."""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, NonNegativeInt

import fewmask
from fewmask.addresses import showable_text
from fewmask.errors import ConfigError, DatasetError, FewmaskError, InUseError
from fewmask.media.atomic import remove_unfinished, write_json
from fewmask.media.identity import identity, same_input
from fewmask.media.own_files import checked, read_json
from fewmask.media.spool import ResultSpool
from fewmask.media.stopping import at_the_end
from fewmask.media.writer_lock import WriterLock

_MANIFEST = "manifest.json"
_SPOOL = "results.spool"
_OTHERWISE = "or use another --out"


Status = Literal["running", "finished", "failed", "interrupted"]


class Progress(BaseModel):
    """How far a run is: ``frames`` are in its spool, ``drawn`` of them in its overlay; verbs add more."""

    model_config = ConfigDict(extra="allow")

    frames: NonNegativeInt = 0
    drawn: NonNegativeInt = 0


class Manifest(BaseModel):
    """``manifest.json``."""

    model_config = ConfigDict(extra="allow")

    command: list[str]
    status: Status
    inputs: dict[str, Any]
    settings: dict[str, Any]
    progress: Progress
    started: str
    finished: str | None
    error: str | None


class RunDirectory:
    """One run and its ``manifest.json``; make it with `create`, in a ``with`` block.

    The folder is locked from `create` until `finish`, `fail` or the end of the block: a second run that would write
    into it is told. An error that leaves the block is noted in the manifest, and so is an interruption.

    Attributes:
        path: the folder.
        manifest: what ``manifest.json`` holds; changed through `update`, `finish` and `fail` alone.
        resumed: True when an earlier run is being continued.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], lock: WriterLock, *, resumed: bool) -> None:
        self.path = path
        self.manifest = manifest
        self.resumed = resumed
        self._lock = lock
        self._stack = ExitStack()

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
            inputs: name -> what is read: a path, an address, a number, or a list of them; recorded and compared by
                content, see `fewmask.media.identity`.
            settings: everything else that decides the result, as plain JSON values. Those with "seed" in their name are
                listed under "seeds" as well.
            resume: continue a run whose inputs and settings equal these; an empty or missing folder starts afresh.

        Raises:
            ConfigError: the folder is not empty and ``resume`` is False; it cannot be written; it holds no run; or
                the run in it had another input or setting, which the message names.
        """
        folder = Path(path)
        wanted = {"inputs": identity(inputs), "settings": dict(settings)}
        wanted = json.loads(json.dumps(wanted))  # as it will be read back
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = WriterLock.of_folder(folder, " ".join(showable_command(command)[:3]))
        except InUseError:
            raise
        except (FewmaskError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"{folder}: cannot be made a run's folder ({reason}); use another --out") from error
        try:
            occupied = any(not entry.name.startswith(".") for entry in folder.iterdir())
            if occupied and not resume:
                raise ConfigError(f"{folder}: is not empty; add --resume to continue a run, or use another --out")
            manifest = _read_manifest(folder) if occupied else _new_manifest(wanted)
            if occupied:
                _check_equal(folder, manifest, wanted)
            manifest.update(
                command=showable_command(command), status="running", error=None, versions=_versions(), updated=_now()
            )
            run = cls(folder, manifest, lock, resumed=occupied)
            run._begin()
        except BaseException:
            lock.release()
            raise
        return run

    @property
    def status(self) -> Status:
        """How far the run is; one that was killed, not told to stop, still says "running"."""
        status: Status = self.manifest["status"]
        return status

    @cached_property
    def spool(self) -> ResultSpool:
        """The per-frame records of this run, opened (and repaired) at first use.

        Raises:
            DatasetError: it is damaged, or ends before the last frame that the manifest knows of.
        """
        known = self.path.joinpath(_SPOOL).exists()  # without one the run starts again
        spool = ResultSpool(self.path / _SPOOL)
        noted = self.manifest["progress"].get("frames", 0) if known else 0
        there = 0 if spool.last_index is None else spool.last_index + 1
        if there < noted:
            spool.close()
            raise DatasetError(
                f"{spool.path}: ends after frame {there - 1}, although {noted} frames were done; restore it from a "
                "copy, or remove it and the run starts again"
            )
        return spool

    def update(self, progress: Mapping[str, Any]) -> None:
        """Note progress, e.g. ``{"frames": 120}``; values given replace the earlier ones of that name."""
        if "spool" in self.__dict__:
            self.spool.sync()  # the manifest must not know of frames that a power cut takes from the spool
        self.manifest["progress"] = {**self.manifest["progress"], **progress}
        self._write()

    def finish(self) -> None:
        """Note that everything is done, and close the spool."""
        self._end("finished", None)

    def fail(self, message: str) -> None:
        """Note why the run stopped, and close the spool; what was written so far stays."""
        self._end("failed", message)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.manifest["status"] != "running" or error is None:
                return
            if isinstance(error, Exception):
                self.fail(_in_words(error))
            else:
                self._end("interrupted", None)
        except (FewmaskError, OSError):
            if error is None:  # on a full disk the first error says it all
                raise
        finally:
            self.close()

    def close(self) -> None:
        """Close the spool and unlock the folder, whatever the status; closing twice is allowed."""
        spool = self.__dict__.pop("spool", None)
        try:
            if spool is not None:
                spool.close()
        finally:
            self._stack.close()
            self._lock.release()

    def _begin(self) -> None:
        try:
            self._write()
            remove_unfinished(self.path)
        except (FewmaskError, OSError) as error:
            raise ConfigError(f"{self.path}: cannot be written; use another --out") from error
        # Not a method of this object, which would then never be collected, nor its lock with it.
        self._stack.enter_context(at_the_end(partial(_note_interruption, self.path / _MANIFEST, self.manifest)))

    def _end(self, status: Status, message: str | None) -> None:
        spool = self.__dict__.pop("spool", None)
        try:
            if spool is not None:
                spool.close()
        finally:
            self._note_end(status, message)

    def _note_end(self, status: Status, message: str | None) -> None:
        self.manifest.update(status=status, error=message, finished=_now())
        if status != "finished":
            self._lock.make_room()  # for the last words on a full disk
        try:
            self._write()
        finally:
            self._stack.close()
            self._lock.release()

    def _write(self) -> None:
        self.manifest["updated"] = _now()
        write_json(self.path / _MANIFEST, self.manifest, indent=1)


def _note_interruption(path: Path, manifest: dict[str, Any]) -> None:
    if manifest["status"] == "running":
        write_json(path, {**manifest, "status": "interrupted", "updated": _now()}, indent=1)


def _in_words(error: Exception) -> str:
    if isinstance(error, FewmaskError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0]


def showable_command(command: Sequence[str]) -> list[str]:
    """A command line without the passwords in its addresses."""
    return [showable_text(word) for word in command]


def _new_manifest(wanted: dict[str, Any]) -> dict[str, Any]:
    seeds = {name: value for name, value in wanted["settings"].items() if "seed" in name}
    return {**wanted, "seeds": seeds, "progress": {}, "started": _now(), "finished": None}


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    if not path.exists():
        raise ConfigError(f"{folder}: holds no {_MANIFEST}, so there is no run to resume; use another --out")
    manifest: dict[str, Any] = read_json(path, dict[str, Any], "use another --out", error=ConfigError)
    checked(manifest, Manifest, str(path), "it is not the manifest of a run; use another --out", error=ConfigError)
    try:
        json.dumps(manifest, allow_nan=False)  # it is written again, and 1e999 is read as infinite
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be written again ({error}); use another --out") from error
    return manifest


def _check_equal(folder: Path, manifest: dict[str, Any], wanted: dict[str, Any]) -> None:
    before, now = manifest["inputs"], wanted["inputs"]
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if not same_input(old, new):
            told = f"was {_shown(old)} and is {_shown(new)}"
            if _shown(old) == _shown(new):
                told = f"{_shown(new)} has changed since the run began"
            raise ConfigError(f"{folder}: cannot resume, the input {name} {told}; repeat it as it was, {_OTHERWISE}")
    before, now = manifest["settings"], wanted["settings"]
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old != new:
            raise ConfigError(
                f"{folder}: cannot resume, the setting {name} was {_short(old)} and is {_short(new)}; "
                f"repeat it as it was, {_OTHERWISE}"
            )


def _shown(value: Any) -> str:
    """An input without its digest."""
    if isinstance(value, dict) and "sha256" in value:
        return str(value.get("path"))
    if isinstance(value, list):
        return ", ".join(map(_shown, value[:3])) + (f" and {len(value) - 3} more" if len(value) > 3 else "")
    return _short(value)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _versions() -> dict[str, str]:
    versions = {"fewmask": fewmask.__version__, "python": platform.python_version()}
    for name in ("torch", "transformers"):
        module = sys.modules.get(name)
        if module is not None:
            versions[name] = str(getattr(module, "__version__", "unknown"))
    return versions


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
