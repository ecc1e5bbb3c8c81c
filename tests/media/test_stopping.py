"""Signals to real processes; the verbs themselves are stopped in tests/endurance."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fewmask.media.stopping import STOPPED

SOURCE = Path(__file__).parents[2] / "src"
LIMIT_S = 60  # of a machine that is busy with other things; what is promised is five seconds of an idle one

PRELUDE = """
import os, sys, time
from fewmask.media import stopping
stopping.listen()
from fewmask.media.run_directory import RunDirectory

def main(verb):
    from fewmask.cli import main as command
    command.app = lambda standalone_mode: verb()
    command.main()

def create():
    return RunDirectory.create(sys.argv[1], command=["x"], inputs={}, settings={}, resume=True)
"""


def start(tmp_path, script):
    path = tmp_path / "script.py"
    path.write_text(PRELUDE + script)
    return subprocess.Popen(
        [sys.executable, str(path), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


def wait_for(child, line):
    said = child.stdout.readline()
    assert said == line + "\n", said + child.stderr.read()


def end_of(child):
    out, err = child.communicate(timeout=LIMIT_S)
    return child.returncode, out, err


def status(tmp_path):
    return json.loads((tmp_path / "out" / "manifest.json").read_text())["status"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_an_interruption(tmp_path, number, code):
    with start(
        tmp_path,
        "def verb():\n"
        "    with create() as run:\n"
        "        run.spool.append(0, {'a': 1})\n"
        "        print('go', flush=True)\n"
        "        time.sleep(100)\n"
        "main(verb)\n",
    ) as child:
        wait_for(child, "go")
        child.send_signal(number)
        assert end_of(child) == (code, "", STOPPED + "\n")
    assert status(tmp_path) == "interrupted"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json", "results.spool"]


def test_a_main_thread_that_hears_nothing_is_left(tmp_path):
    """A library that waits in C, here a join that swallows the first interruption, does not hold the process up."""
    with start(
        tmp_path,
        "import threading\n"
        "def verb():\n"
        "    with create() as run:\n"
        "        print('go', flush=True)\n"
        "        while True:\n"
        "            try: time.sleep(100)\n"
        "            except KeyboardInterrupt: pass\n"
        "main(verb)\n",
    ) as child:
        wait_for(child, "go")
        child.send_signal(signal.SIGTERM)
        assert end_of(child) == (143, "", STOPPED + "\n")
    assert status(tmp_path) == "interrupted"


WORKERS = """
from concurrent.futures import ProcessPoolExecutor
import multiprocessing

def work(seconds):
    os.write(1, f"{os.getpid()}\\n".encode())  # one write: two workers' lines never mix
    time.sleep(seconds)

def verb():
    with create() as run:
        pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), initializer=stopping.end_with_parent)
        try:
            with stopping.children_start():
                futures = [pool.submit(work, 100) for _ in range(2)]
            for future in futures:
                future.result()
        finally:
            stopping.end_workers(pool)

if __name__ == "__main__":
    main(verb)
"""


def is_there(pid):
    """Whether the process runs; one that has ended and only waits to be asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux who is there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path, number):
    """Told in order, or on their own where the parent was killed; Ctrl-C reaches the whole group, as on a terminal."""
    with start(tmp_path, WORKERS) as child:
        workers = [int(child.stdout.readline()) for _ in range(2)]
        assert all(map(is_there, workers))
        if number == signal.SIGINT:
            for pid in workers:
                os.kill(pid, signal.SIGINT)
        child.send_signal(number)
        code, out, err = end_of(child)
        until = time.monotonic() + LIMIT_S
        while any(map(is_there, workers)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(is_there, workers))
    if number != signal.SIGKILL:
        assert (code, out, err) == (128 + number, "", STOPPED + "\n")
        assert status(tmp_path) == "interrupted"


def test_the_end_of_a_live_source_is_no_interruption(tmp_path):
    with start(
        tmp_path,
        "def verb():\n"
        "    with create() as run:\n"
        "        try:\n"
        "            print('go', flush=True)\n"
        "            time.sleep(100)\n"
        "        except KeyboardInterrupt: stopping.taken_up()\n"
        "        time.sleep(stopping.GRACE_S + 1)\n"
        "        run.finish()\n"
        "        print('written', flush=True)\n"
        "        time.sleep(100)\n"
        "main(verb)\n",
    ) as child:
        wait_for(child, "go")
        child.send_signal(signal.SIGINT)
        wait_for(child, "written")
        assert status(tmp_path) == "finished"
        child.send_signal(signal.SIGINT)
        assert end_of(child) == (130, "", STOPPED + "\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("OSError(28, 'No space left on device')", "fewmask: No space left on device\n"),
        ("OSError(28, 'No space left on device', 'log.csv')", "fewmask: log.csv: No space left on device\n"),
        ("MemoryError()", "fewmask: out of memory; use smaller pictures, batches or fewer workers\n"),
    ],
)
def test_what_the_machine_lacks_is_one_line(tmp_path, error, said):
    with start(tmp_path, f"def verb():\n    with create() as run:\n        raise {error}\nmain(verb)\n") as child:
        assert end_of(child) == (2, "", said)
    assert status(tmp_path) == "failed"


def test_a_run_on_a_full_disk_still_says_that_it_failed(tmp_path):
    """On a disk of its own, 300 kB of memory, where the system lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    try:
        (disk / "out").mkdir()
        (tmp_path / "out").symlink_to(disk / "out")
        with start(
            tmp_path,
            "def verb():\n"
            "    with create() as run:\n"
            "        for index in range(10000):\n"
            "            run.spool.append(index, os.urandom(3000))\n"
            "main(verb)\n",
        ) as child:
            code, out, err = end_of(child)
        assert (code, out) == (2, "")
        assert "results.spool: frame" in err
        assert "cannot be stored (No space left on device); free some space and resume" in err
        assert status(tmp_path) == "failed"
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json", "results.spool"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
