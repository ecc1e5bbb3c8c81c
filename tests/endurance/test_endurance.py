"""Every verb is killed: at random moments, at every file it completes, by signals; resumed, it ends as if nothing was.

`make endurance` runs this. FEWMASK_KILLS sets how many random kills a verb gets (5), FEWMASK_RENAMES how many of its
renames are died at, spread evenly, 0 for all of them (12), FEWMASK_SCENES the verbs, as a comma-separated list,
FEWMASK_SEED the random moments (others every time).
"""

import json
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import SCENES, Scene, contents, differences, litter, make_workspace, random_moment
from verb_process import VerbProcess, run_verb

from fewmask.media.writer_lock import LOCK_FILE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="kills process groups"),
    pytest.mark.filterwarnings("ignore"),
]
SEED = int(os.environ.get("FEWMASK_SEED") or secrets.randbits(32))
KILLS = int(os.environ.get("FEWMASK_KILLS", "5"))
RENAMES = int(os.environ.get("FEWMASK_RENAMES", "12"))
WANTED = [name for name in os.environ.get("FEWMASK_SCENES", "").split(",") if name]
CHOSEN = [scene for scene in SCENES if not WANTED or scene.name in WANTED]
ATTEMPTS = 20 + 8 * KILLS


class Whole:
    """A verb that nobody disturbed: what it wrote, and how long it took."""

    def __init__(self, scene: Scene, work: Path, folder: Path) -> None:
        self.out = folder / "whole" / "out"
        self.out.parent.mkdir(parents=True)
        run_verb(["--version"], folder / "start.log")  # which loads torch once for all, and is not part of the time
        ended = run_verb(scene.arguments(work, self.out), folder / "whole.log")
        assert ended.code == 0, ended.said
        assert litter(self.out.parent) == []
        self.seconds = ended.seconds
        self.contents = what_counts(scene, work, self.out, folder)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("work")
    make_workspace(root)
    needed = {need for scene in CHOSEN for need in scene.needs}
    if "pool" in needed:
        ended = run_verb(["index", str(root / "videos"), "--out", str(root / "pool"), "--device", "cpu"], root / "log")
        assert ended.code == 0, ended.said
    return root


@pytest.fixture(scope="module", params=CHOSEN, ids=lambda scene: scene.name)
def whole(request: pytest.FixtureRequest, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    scene = request.param
    folder = tmp_path_factory.mktemp("scene")
    yield scene, Whole(scene, work, folder)
    shutil.rmtree(folder, ignore_errors=True)


def what_counts(scene: Scene, work: Path, out: Path, folder: Path) -> dict[str, Any]:
    """The files of the output; of an index, which may lie on the disk in many ways, what it answers."""
    if scene.name != "index":
        return contents(out)
    query = [
        "retrieve",
        str(work / "videos" / "v2.mp4"),
        "--index",
        str(out),
        "-k",
        "3",
        "--encoder",
        "fixed",
        "--json",
        "--sheet",
        str(folder / "sheet.png"),
        "--overwrite",
    ]
    ended = run_verb(query, folder / "retrieve.log")
    assert ended.code == 0, ended.said
    answer = json.loads(ended.said.splitlines()[-1])
    del answer["sheet"]
    return {"answer": json.dumps(answer).replace(str(out), "OUT")}


def finish(scene: Scene, work: Path, out: Path, log: Path) -> None:
    """Run it again after a kill, to its end."""
    again = [] if not out.exists() else list(scene.resumes)
    ended = run_verb([*scene.arguments(work, out), *again], log)
    if scene.starts_over and ended.code == 2 and "exists already" in ended.said:
        return  # it had been whole before it was killed
    assert ended.code == 0, ended.said


def check(scene: Scene, whole: Whole, work: Path, out: Path, folder: Path) -> None:
    """Equal to the undisturbed output, and nothing beside it."""
    found = what_counts(scene, work, out, folder)
    assert differences(found, whole.contents) == []
    assert litter(out.parent) == []


def test_random_kills(whole: tuple[Scene, Whole], work: Path, tmp_path: Path) -> None:
    """SIGKILL to the verb and its children, again and again on the same output, then once to its end."""
    scene, untouched = whole
    print(f"FEWMASK_SEED={SEED}")  # noqa: T201  # pytest shows it with a failure
    numbers = np.random.default_rng([SEED, *scene.name.encode()])
    out, killed = tmp_path / "here" / "out", 0
    out.parent.mkdir()
    for attempt in range(ATTEMPTS):
        if killed == KILLS:
            break
        again = list(scene.resumes) if out.exists() else []
        process = VerbProcess([*scene.arguments(work, out), *again], tmp_path / f"{attempt}.log")
        ended = process.wait(random_moment(numbers, untouched.seconds))
        if ended is None:
            process.tell(signal.SIGKILL)
            ended = process.end()
            killed += ended.code == -signal.SIGKILL
        if ended.code == 0 or (scene.starts_over and ended.code == 2):  # it was done before: start from nothing again
            check(scene, untouched, work, out, tmp_path)
            shutil.rmtree(out.parent)
            out.parent.mkdir()
        else:
            assert ended.code == -signal.SIGKILL, ended.said
    assert killed == KILLS
    finish(scene, work, out, tmp_path / "last.log")
    check(scene, untouched, work, out, tmp_path)


def test_deaths_at_renames(whole: tuple[Scene, Whole], work: Path, tmp_path: Path) -> None:
    """Killed before and after the n-th file appears, for every n or for some spread evenly."""
    scene, untouched = whole
    if scene.name == "index":
        pytest.skip("its database appends and commits; it renames nothing")
    total = renames_of(scene, work, tmp_path)
    assert total > 0
    chosen = range(total) if RENAMES == 0 else sorted({total * i // RENAMES for i in range(RENAMES)})
    for number in chosen:
        out = tmp_path / f"r{number}" / "out"
        out.parent.mkdir()
        process = VerbProcess(scene.arguments(work, out), tmp_path / "log", die_at_rename=number, after=number % 2 == 1)
        ended = process.end()
        assert ended.code == -signal.SIGKILL, (number, ended)
        finish(scene, work, out, tmp_path / "again.log")
        check(scene, untouched, work, out, tmp_path)
        shutil.rmtree(out.parent)


def renames_of(scene: Scene, work: Path, folder: Path) -> int:
    """How many renames an undisturbed run makes in its own process."""
    count = folder / "renames"
    count.touch()
    ended = VerbProcess(scene.arguments(work, folder / "count" / "out"), folder / "count.log", count=count).end()
    assert ended.code == 0, ended.said
    shutil.rmtree(folder / "count")
    return len(count.read_bytes())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_random_moments(whole: tuple[Scene, Whole], work: Path, tmp_path: Path, number: int) -> None:
    """One line, the exit code of the signal, within seconds, no child left, and the manifest says interrupted."""
    scene, untouched = whole
    print(f"FEWMASK_SEED={SEED}")  # noqa: T201  # pytest shows it with a failure
    numbers = np.random.default_rng([SEED, number, *scene.name.encode()])
    out, told = tmp_path / "here" / "out", 0
    out.parent.mkdir()
    for attempt in range(ATTEMPTS):
        if told == KILLS:
            break
        again = list(scene.resumes) if out.exists() else []
        process = VerbProcess([*scene.arguments(work, out), *again], tmp_path / f"{attempt}.log")
        ended = process.wait(random_moment(numbers, untouched.seconds))
        if ended is None:
            process.tell(number)
            ended = process.end()
        if ended.code == 0 or (scene.starts_over and ended.code == 2):
            check(scene, untouched, work, out, tmp_path)
            shutil.rmtree(out.parent)
            out.parent.mkdir()
            continue
        if ended.code == -number:  # before the verb could listen: as good as not started
            continue
        told += 1
        assert ended.code == 128 + number, ended
        assert "Traceback" not in ended.said, ended.said
        assert ended.said.splitlines()[-1] == "fewmask: stopped; what was written stays, --resume goes on"
        manifest = out / "manifest.json"
        if manifest.exists() and not scene.starts_over:
            assert json.loads(manifest.read_text())["status"] in ("interrupted", "finished")
    finish(scene, work, out, tmp_path / "last.log")
    check(scene, untouched, work, out, tmp_path)


def test_two_writers(whole: tuple[Scene, Whole], work: Path, tmp_path: Path) -> None:
    """The second is told in one line, and does the first no harm."""
    scene, untouched = whole
    out = tmp_path / "here" / "out"
    out.parent.mkdir()
    first = VerbProcess(scene.arguments(work, out), tmp_path / "first.log")
    if scene.name == "index":  # its database has the second wait, transaction by transaction
        second = run_verb(scene.arguments(work, out), tmp_path / "second.log")
        assert (first.end().code, second.code) == (0, 0), second
        check(scene, untouched, work, out, tmp_path)
        return
    lock = out / LOCK_FILE if not scene.starts_over else out.with_name(".out.lock")
    while not (lock.exists() and b"}" in lock.read_bytes()):
        assert first.wait(0.002) is None, "it ended before it was seen to write"
    first.tell(signal.SIGSTOP)  # in the middle of its work, however quick that is
    try:
        assert lock.exists(), "it had ended before it stopped"
        second = run_verb([*scene.arguments(work, out), *scene.resumes], tmp_path / "second.log")
    finally:
        first.tell(signal.SIGCONT)
    assert first.end().code == 0
    told = [line for line in second.said.splitlines() if "is being written by process" in line]
    assert (second.code, len(told)) == (2, 1), second
    check(scene, untouched, work, out, tmp_path)
