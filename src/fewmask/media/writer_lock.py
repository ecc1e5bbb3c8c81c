"""One writer at a time: a lock of the operating system, which is gone when its process is, however it ended.

The lock lies on a hidden file, ``.fewmask.lock`` in a folder, that also says who holds it. The writer takes it away at
its end; what a killed one leaves of it holds nobody up. Processes started by the writer do not inherit the lock.
"""

import json
import os
import platform
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fewmask.errors import FewmaskError, InUseError

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_FILE = ".fewmask.lock"
_ROOM = 1 << 16  # bytes
_PATIENCE_S = 0.5  # a writer that is just ending, or was killed a moment ago, is waited for


class WriterLock:
    """The right to write into a folder or a file, from `of_folder` or `of_target` until `release`."""

    def __init__(self, path: Path, what: Path, doing: str) -> None:
        """Use `of_folder` or `of_target`."""
        from filelock import FileLock, Timeout  # only those who write pay for the import

        self.path = path
        self._held: BaseFileLock | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Threads share it: a run may be made in one and ended in another.
            held = FileLock(path, timeout=_PATIENCE_S, thread_local=False, is_singleton=False)
            held.acquire(poll_interval=0.02)
        except Timeout:
            raise InUseError(f"{what}: {_holder(path)}; wait for it to end, or use another folder") from None
        except OSError as error:
            raise FewmaskError(
                f"{what}: cannot be locked for writing ({error.strerror or error}); use another folder"
            ) from error
        self._held = held
        note = {
            "pid": os.getpid(),
            "host": platform.node(),
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
            "doing": doing,
        }
        with suppress(OSError):  # on a full disk the lock holds without the note
            path.write_text(json.dumps(note).ljust(_ROOM), encoding="utf-8")

    @classmethod
    def of_folder(cls, folder: str | Path, doing: str = "") -> "WriterLock":
        """Lock a folder, which is made if it is missing.

        Args:
            folder: what is going to be written.
            doing: the command, for the one who comes second.

        Raises:
            InUseError: another writer, of this process or another, has it; the message says which and since when.
            FewmaskError: the folder cannot be made or written, or its file system cannot lock.
        """
        return cls(Path(folder) / LOCK_FILE, Path(folder), doing)

    @classmethod
    def of_target(cls, path: str | Path, doing: str = "") -> "WriterLock":
        """Lock a file or folder that is about to appear, from beside it; raises like `of_folder`."""
        target = Path(path)
        return cls(target.with_name(f".{target.name}.lock"), target, doing)

    def make_room(self) -> None:
        """Give back what the lock's file keeps of the disk, so that a writer on a full one can say why it ended."""
        with suppress(OSError):
            os.truncate(self.path, 0)

    def release(self) -> None:
        """Let others write; releasing twice is allowed."""
        held, self._held = self._held, None
        if held is None:
            return
        with suppress(OSError):  # while it is held, so that nobody's new lock is taken away
            self.path.unlink()
        held.release(force=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _holder(path: Path) -> str:
    """Who has the lock, in words."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        where = "" if note["host"] == platform.node() else f" on {note['host']}"
        doing = f" ({note['doing']})" if note["doing"] else ""
        since = datetime.fromisoformat(note["since"]).strftime("%Y-%m-%d %H:%M:%S")
        return f"is being written by process {int(note['pid'])}{where}{doing} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "is being written by another process"
