import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fewmask
from fewmask.errors import ConfigError, DatasetError, InUseError
from fewmask.media.run_directory import RunDirectory
from fewmask.media.spool import ResultSpool


def create(path, *, resume=False, **changes):
    values = {
        "command": ["fewmask", "segment", "a.mp4", "http://u:secret@host/b.mp4"],
        "inputs": {},
        "settings": {"seed": 1, "top_k": 10},
    }
    return RunDirectory.create(path, resume=resume, **{**values, **changes})


def manifest_of(path):
    return json.loads((path / "manifest.json").read_text())


def test_a_run_from_start_to_end(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"12345")
    out = tmp_path / "deep" / "out"
    run = create(out, inputs={"source": video, "address": "rtsp://user:secret@cam/1", "camera": 0})
    assert "secret" not in (out / "manifest.json").read_text()
    written = manifest_of(out)
    assert written["status"] == run.status == "running"
    assert written["command"] == ["fewmask", "segment", "a.mp4", "http://host/b.mp4"]
    assert written["versions"]["fewmask"] == fewmask.__version__
    assert written["seeds"] == {"seed": 1}
    assert written["inputs"]["source"]["path"] == str(video)
    assert written["inputs"]["source"]["size"] == 5
    assert (written["inputs"]["address"]["path"], written["inputs"]["camera"]) == ("rtsp://cam/1", 0)
    run.update(progress={"frames": 10, "of": 20})
    run.update(progress={"frames": 12})
    assert manifest_of(out)["progress"] == {"frames": 12, "of": 20}
    run.spool.append(0, {"a": 1})
    run.finish()
    assert manifest_of(out)["status"] == "finished"
    assert manifest_of(out)["finished"] is not None
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "results.spool"]


def test_an_occupied_folder_needs_resume(tmp_path):
    run = create(tmp_path / "out")
    assert not run.resumed
    run.update(progress={"frames": 7})
    run.spool.append(6, {"x": 1})
    run.fail("a.mp4: frame 7 is broken")
    assert manifest_of(tmp_path / "out")["error"] == "a.mp4: frame 7 is broken"
    with pytest.raises(ConfigError, match=r"out: is not empty; add --resume .* or use another --out"):
        create(tmp_path / "out")
    again = create(tmp_path / "out", resume=True)
    assert again.resumed
    assert (again.status, again.manifest["error"]) == ("running", None)
    assert again.manifest["progress"] == {"frames": 7}
    assert list(again.spool.records()) == [(6, {"x": 1})]
    again.finish()


def test_resume_checks_inputs_and_settings(tmp_path):
    video, out = tmp_path / "a.mp4", tmp_path / "out"
    video.write_bytes(b"12345")
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"1")
    inputs = {"source": str(video), "support": [folder]}
    create(out, inputs=inputs, settings={"top_k": 10, "size": (4, 5)})
    create(out, inputs=inputs, settings={"top_k": 10, "size": (4, 5)}, resume=True)
    with pytest.raises(ConfigError, match="the setting top_k was 10 and is 20"):
        create(out, inputs=inputs, settings={"top_k": 20, "size": (4, 5)}, resume=True)
    with pytest.raises(ConfigError, match="the setting extra was null and is true"):
        create(out, inputs=inputs, settings={"top_k": 10, "size": (4, 5), "extra": True}, resume=True)
    (folder / "2.png").write_bytes(b"2")
    with pytest.raises(ConfigError, match=r"the input support .* has changed since the run began"):
        create(out, inputs=inputs, settings={"top_k": 10, "size": (4, 5)}, resume=True)
    (folder / "2.png").unlink()
    os.utime(video, ns=(1, 1))
    create(out, inputs=inputs, settings={"top_k": 10, "size": (4, 5)}, resume=True)
    moved = video.rename(tmp_path / "b.mp4")
    create(out, inputs={**inputs, "source": moved}, settings={"top_k": 10, "size": (4, 5)}, resume=True)
    moved.write_bytes(b"54321")
    with pytest.raises(ConfigError, match=r"the input source was .*a\.mp4 and is .*b\.mp4; repeat it"):
        create(out, inputs={**inputs, "source": moved}, settings={"top_k": 10, "size": (4, 5)}, resume=True)
    moved.rename(video)
    with pytest.raises(ConfigError, match=r"the input source .*a\.mp4 has changed since the run began; repeat it"):
        create(out, inputs=inputs, settings={"top_k": 10, "size": (4, 5)}, resume=True)


def test_resume_of_nothing_starts_afresh(tmp_path):
    assert not create(tmp_path / "new", resume=True).resumed
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / ".DS_Store").write_text("")
    assert not create(hidden).resumed


def test_resume_removes_what_a_killed_run_left_half_written(tmp_path):
    create(tmp_path / "out")
    leftover = tmp_path / "out" / ".overlay.123.part.mp4"
    leftover.write_text("half")
    create(tmp_path / "out", resume=True)
    assert not leftover.exists()


def test_folders_that_cannot_be_used(tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"full: holds no manifest\.json"):
        create(full, resume=True)
    (full / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match="is not the manifest of a run"):
        create(full, resume=True)
    (full / "manifest.json").write_text("not json")
    with pytest.raises(ConfigError, match=r"manifest\.json: not valid JSON .*; use another --out"):
        create(full, resume=True)
    with pytest.raises(ConfigError, match=r"notes\.txt: cannot be made a run's folder"):
        create(full / "notes.txt")
    with pytest.raises(ConfigError, match="cannot be made a run's folder"):
        create(full / "notes.txt" / "below")
    if os.geteuid() != 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        with pytest.raises(ConfigError, match="closed: cannot be written"):
            create(closed)


def test_a_second_run_is_told_who_has_the_folder(tmp_path):
    out = tmp_path / "out"
    with create(out) as run:
        run.spool.append(0, {"a": 1})
        for resume in (False, True):
            with pytest.raises(
                InUseError,
                match=rf"out: is being written by process {os.getpid()} \(fewmask segment a\.mp4\) since 20..-",
            ):
                create(out, resume=resume)
        assert list(run.spool.records()) == [(0, {"a": 1})]
        run.finish()
        assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "results.spool"]
    create(out, resume=True)


def test_the_lock_dies_with_its_process(tmp_path):
    script = (
        "import sys, time\nfrom fewmask.media.run_directory import RunDirectory\n"
        "run = RunDirectory.create(sys.argv[1], command=['fewmask', 'segment', 'a.mp4', 'http://u:secret@host/b.mp4'], "
        "inputs={}, settings={'seed': 1, 'top_k': 10}, resume=True)\n"
        "run.spool.append(0, {'a': 1})\n"
        "print('go', flush=True)\ntime.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    out = tmp_path / "out"
    command = [sys.executable, "-c", script, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        with pytest.raises(InUseError, match=rf"out: is being written by process {child.pid}"):
            create(out, resume=True)
        child.kill()
    with create(out, resume=True) as run:
        assert list(run.spool.records()) == [(0, {"a": 1})]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DatasetError("x.json: key 'a' is missing"), "failed", "x.json: key 'a' is missing"),
        (OSError(28, "No space left on device"), "failed", "OSError: [Errno 28] No space left on device"),
        (RuntimeError("first\nsecond"), "failed", "RuntimeError: first"),
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_what_ends_a_run_is_noted(tmp_path, error, status, message):
    run = create(tmp_path / "out")
    run.spool.append(0, {})
    with pytest.raises(type(error)), run:
        raise error
    written = manifest_of(tmp_path / "out")
    assert (written["status"], written["error"]) == (status, message)
    with create(tmp_path / "out", resume=True) as again:
        assert again.status == "running"


def test_a_spool_that_lost_frames_the_manifest_knows_of(tmp_path):
    with create(tmp_path / "out") as run:
        for index in range(9):
            run.spool.append(index, {"i": index})
        run.update({"frames": 9})
        run.fail("power")
    with ResultSpool(tmp_path / "out" / "results.spool") as spool:
        spool.truncate_to(6)
    with (
        pytest.raises(DatasetError, match=r"results\.spool: ends after frame 5, although 9 frames were done"),
        create(tmp_path / "out", resume=True) as run,
    ):
        run.spool  # noqa: B018 - opened at first use
    (tmp_path / "out" / "results.spool").unlink()
    with create(tmp_path / "out", resume=True) as run:
        assert run.spool.last_index is None


def test_what_killed_runs_left_goes_everywhere_but_where_others_write(tmp_path):
    out = tmp_path / "out"
    create(out)
    (out / "masks").mkdir()
    (out / ".00001.77.part").mkdir()
    leftovers = [
        out / "masks" / ".00000.123.part.png",
        out / ".tracks.segmentations.0.part",
        out / ".00001.77.part" / "0.jpg",
    ]
    kept = [out / "masks" / "00000.png", out / "masks" / ".hidden", out / "a.part.png"]
    for path in [*leftovers, *kept]:
        path.write_text("x")
    with create(out / "refined") as other:
        theirs = other.path / ".model.99.part.safetensors"
        theirs.write_text("being written")
        create(out, resume=True)
        assert theirs.exists()
    assert [path for path in leftovers if path.exists()] == []
    assert all(path.exists() for path in kept)
