"""``python -m fewmask.studio.job_process FOLDER``: one job, in a process that outlives a killed studio.

The folder's ``job.json`` says what to run. Output goes to ``log.txt``; ``ended.json`` says how it ended. As long as
this process lives it holds a lock on ``lock``: that is how a studio started anew knows that the job still runs.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from fewmask.media.atomic import write_json


def main(folder: Path) -> int:
    """Run the job to its end; signals are passed on to it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 1  # it runs already
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with (folder / "log.txt").open("ab", buffering=0) as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "fewmask", *job["words"]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=job["cwd"],
            env={**os.environ, "PYTHONUNBUFFERED": "1", "FEWMASK_PROGRESS_S": "1"},
        )
        write_json(folder / "started.json", {"pid": os.getpid(), "started": time.time()})

        def pass_on(number: int, _: FrameType | None) -> None:
            child.send_signal(number)

        signal.signal(signal.SIGINT, pass_on)
        signal.signal(signal.SIGTERM, pass_on)
        code = child.wait()
    write_json(folder / "ended.json", {"code": code, "ended": time.time()})
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
