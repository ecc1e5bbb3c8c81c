"""One queue of jobs: command lines of fewmask, run one after another, that survive a restart of the studio.

A job is a folder: ``job.json`` (what), ``log.txt`` (its output), ``started.json``, ``ended.json``, ``cancelled``. What
a job's state is follows from these files alone.
"""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.atomic import write_json
from fewmask.studio.job_progress import JobProgress, progress_of
from fewmask.studio.library import Kind, NotOpenedError, object_or_empty

State = Literal["waiting", "running", "finished", "failed", "cancelled", "interrupted"]
_LOOKS_EVERY_S = 0.5
_PATIENCE_S = 10.0  # after SIGINT, then after SIGTERM
_TAIL = 1 << 15


@dataclass(frozen=True)
class JobRecord:
    """What ``job.json`` holds.

    Attributes:
        number: from 1, the folder's name.
        title: for people.
        words: the command line after ``fewmask``.
        cwd: where it runs.
        made: the kind and path of what comes of it, to be opened in the end; None = nothing to open.
        resumable: ``--resume`` goes on with it.
        created: seconds since the epoch.
    """

    number: int
    title: str
    words: tuple[str, ...]
    cwd: str
    made: tuple[Kind, str] | None
    resumable: bool
    created: float


_JOB = TypeAdapter(JobRecord)


class Jobs:
    """The queue in a folder. `start` sets the thread going that runs it; without it jobs are only kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._stopping = False
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: dict[int, tuple[float, int]] = {}

    def add(
        self,
        title: str,
        words: Sequence[str],
        *,
        made: tuple[Kind, Path] | None = None,
        resumable: bool = False,
    ) -> JobRecord:
        """Put a job at the end of the queue.

        Raises:
            FewmaskError: the folder cannot be written.
        """
        with self._lock:
            number = max((job.number for job in self.all()), default=0) + 1
            what = None if made is None else (made[0], str(made[1]))
            job = JobRecord(number, title, tuple(words), str(Path.cwd()), what, resumable, time.time())
            self._write(job)
        self._wake.set()
        return job

    def all(self) -> list[JobRecord]:
        """Every job, oldest first; folders that hold none are passed over."""
        found = []
        for path in sorted(self.folder.glob("[0-9]*/job.json")):
            try:
                job = _JOB.validate_python(object_or_empty(path))
            except ValidationError:
                continue
            if path.parent == self._folder(job):
                found.append(job)
        return found

    def get(self, number: int) -> JobRecord:
        """One job.

        Raises:
            NotOpenedError: there is none of that number.
        """
        for job in self.all():
            if job.number == number:
                return job
        raise NotOpenedError(f"there is no job {number}")

    def state(self, job: JobRecord) -> State:
        """How far a job is."""
        folder = self._folder(job)
        cancelled = (folder / "cancelled").exists()
        if (folder / "ended.json").exists():
            code = object_or_empty(folder / "ended.json").get("code")
            return "finished" if code == 0 else "cancelled" if cancelled else "failed"
        if not (folder / "started.json").exists():
            return "cancelled" if cancelled else "waiting"
        if _is_locked(folder / "lock"):
            return "running"
        return "cancelled" if cancelled else "interrupted"

    def described(self, job: JobRecord) -> dict[str, Any]:
        """For the page."""
        state = self.state(job)
        started, ended = (object_or_empty(self._folder(job) / name) for name in ("started.json", "ended.json"))
        progress = progress_of(self.log(job)) if state != "waiting" else JobProgress()
        return {
            "number": job.number,
            "title": job.title,
            "command": shlex.join(["fewmask", *job.words]),
            "status": state,
            "made": job.made,
            "resumable": job.resumable and state in ("failed", "cancelled", "interrupted"),
            "created": job.created,
            "started": started.get("started"),
            "ended": ended.get("ended"),
            "progress": asdict(progress),
        }

    def log(self, job: JobRecord) -> str:
        """The end of its output."""
        try:
            with (self._folder(job) / "log.txt").open("rb") as handle:
                handle.seek(max(0, handle.seek(0, os.SEEK_END) - _TAIL))
                return handle.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def cancel(self, job: JobRecord) -> None:
        """Stop a job, first kindly: what it wrote stays.

        Raises:
            ConfigError: it has ended already.
        """
        with self._lock:
            if self.state(job) not in ("waiting", "running"):
                raise ConfigError(f"job {job.number} has ended already")
            (self._folder(job) / "cancelled").touch()
        self._wake.set()

    def resume(self, job: JobRecord) -> None:
        """Go on with a job that did not end well.

        Raises:
            ConfigError: it runs, or its command cannot go on.
        """
        with self._lock:
            if not self.described(job)["resumable"]:
                raise ConfigError(f"job {job.number} cannot be resumed; start it anew")
            for name in ("cancelled", "ended.json", "started.json"):
                (self._folder(job) / name).unlink(missing_ok=True)
            words = job.words if "--resume" in job.words else (*job.words, "--resume")
            self._write(JobRecord(**{**asdict(job), "words": words}))
        self._wake.set()

    def start(self) -> None:
        """Run the queue in a thread of its own until `stop`."""
        self._stopping = False
        threading.Thread(target=self._run, name="jobs", daemon=True).start()

    def stop(self) -> None:
        """Run no further job; one that runs goes on by itself and is taken up again by the next studio."""
        self._stopping = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._look()
            except (OSError, FewmaskError):
                time.sleep(_LOOKS_EVERY_S)  # a disk that is full now may not be later
            self._wake.wait(_LOOKS_EVERY_S)
            self._wake.clear()

    def _look(self) -> None:
        with self._lock:
            states = [(job, self.state(job)) for job in self.all()]
            running = [job for job, state in states if state == "running"]
            for job in running:
                if (self._folder(job) / "cancelled").exists():
                    self._press(job)
            waiting = [job for job, state in states if state == "waiting"]
            if not running and waiting and (self._child is None or self._child.returncode is not None):
                self._launch(waiting[0])

    def _launch(self, job: JobRecord) -> None:
        folder = self._folder(job)
        child = subprocess.Popen(
            [sys.executable, "-m", "fewmask.studio.job_process", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the studio's terminal is not for it
        )
        self._child = child
        threading.Thread(target=child.wait, daemon=True).start()  # so that no zombie is left
        while child.returncode is None and not (folder / "started.json").exists():
            time.sleep(0.02)
        if child.returncode is not None and not (folder / "ended.json").exists():
            write_json(folder / "started.json", {"started": time.time()})
            write_json(folder / "ended.json", {"code": child.returncode or 1, "ended": time.time()})

    def _press(self, job: JobRecord) -> None:
        """SIGINT, and when that did not do, SIGTERM, then SIGKILL for the whole group."""
        since, sent = self._asked.get(job.number, (0.0, 0))
        if sent and time.monotonic() - since < _PATIENCE_S:
            return
        pid = object_or_empty(self._folder(job) / "started.json").get("pid")
        if not isinstance(pid, int):
            return
        try:
            if sent < 2:
                os.kill(pid, (signal.SIGINT, signal.SIGTERM)[sent])
            else:
                os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._asked[job.number] = (time.monotonic(), sent + 1)

    def _folder(self, job: JobRecord) -> Path:
        return self.folder / f"{job.number:04d}"

    def _write(self, job: JobRecord) -> None:
        self._folder(job).mkdir(parents=True, exist_ok=True)
        write_json(self._folder(job) / "job.json", asdict(job), indent=1)


def _is_locked(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
