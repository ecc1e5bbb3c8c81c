"""Workers for tests of the pool of processes; a module of their own, so that other processes find them."""

import os
import signal
import time
from pathlib import Path


class NegativeJobError(ValueError):
    """A job that cannot be done."""


def squares():
    return square


def square(job):
    if job < 0:
        raise NegativeJobError(job)
    time.sleep(0.02 * (job % 3))
    return job * job, os.getpid()


def broken():
    os._exit(3)


class DiesOnce:
    """Doubles a number; the first that meets 5 is killed in the middle, and whoever is asked again does it."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def __call__(self, job):
        (self.folder / f"begun-{job}-{time.monotonic_ns()}").touch()
        if job == 5 and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return 2 * job


def slow_forever(folder):
    def work(job):
        Path(folder, f"{job}-{os.getpid()}").touch()
        time.sleep(600)

    return work
