"""`fewmask segment --support` as users meet it: one clear line for every mistake in the supports, and kill -9."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from moving_squares import write_video
from PIL import Image
from tiny_vipmt import tiny_network, write_pictures

from fewmask.cli import main as command
from fewmask.vipmt.model import VIPMT


@pytest.fixture(scope="session")
def few_shot_weights(tmp_path_factory):
    return VIPMT(tiny_network()).save_pretrained(tmp_path_factory.mktemp("weights") / "vipmt")


@pytest.fixture
def source(tmp_path):
    (tmp_path / "video").mkdir()
    for t in range(4):
        Image.fromarray(np.full((48, 64, 3), 40 * t, dtype=np.uint8)).save(tmp_path / "video" / f"{t}.png")
    return tmp_path / "video"


@pytest.fixture
def fewmask(monkeypatch, capsys):
    """Run the command in this process: (exit code, standard output, standard error)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fewmask", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            command.main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


@pytest.mark.parametrize("pictures", [1, 200])
def test_one_picture_and_two_hundred_are_enough_and_not_too_many(fewmask, few_shot_weights, source, tmp_path, pictures):
    support = write_pictures(tmp_path / "things", pictures, size=(45, 60))
    code, said, errors = fewmask(
        "segment", source, "--support", support, "--out", tmp_path / "run", "--weights", few_shot_weights, "--json"
    )
    assert code == 0, errors
    assert json.loads(said)["frames"] == 4
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["settings"]["supports"] == {"things": pictures}


def spoil_no_mask(folder):
    (folder / "1.png").unlink()
    return "1.jpg"


def spoil_empty_mask(folder):
    Image.new("L", (70, 60)).save(folder / "1.png")
    return "the mask is empty"


def spoil_mask_size(folder):
    Image.new("L", (9, 9), 255).save(folder / "1.png")
    return "9x9"


def spoil_unreadable(folder):
    (folder / "1.jpg").write_bytes(b"not a picture")
    return "1.jpg"


def spoil_unreadable_mask(folder):
    (folder / "1.png").write_bytes(b"not a picture")
    return "1.png"


def spoil_stray_file(folder):
    (folder / "notes.txt").touch()
    return "notes.txt"


def spoil_everything(folder):
    for path in list(folder.iterdir()):
        path.unlink()
    return "no pictures"


@pytest.mark.parametrize("spoil", [
    spoil_no_mask, spoil_empty_mask, spoil_mask_size, spoil_unreadable, spoil_unreadable_mask, spoil_stray_file,
    spoil_everything,
])  # fmt: skip
def test_a_bad_support_is_told_in_one_line_before_any_work(fewmask, few_shot_weights, source, tmp_path, spoil):
    support = write_pictures(tmp_path / "things", 2)
    named = spoil(support)
    code, said, errors = fewmask(
        "segment", source, "--support", support, "--out", tmp_path / "run", "--weights", few_shot_weights
    )
    assert (code, said) == (2, "")
    assert errors.startswith("fewmask: ")
    assert errors.count("\n") == 1
    assert named in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("instances", ["none", "minvis", "objects"])
def test_kill_9_and_resume_equals_an_uninterrupted_run(few_shot_weights, tmp_path, instances):
    video = write_video(tmp_path / "long.mp4", 300)
    support = write_pictures(tmp_path / "things", 2)

    def start(out, *more):
        words = [sys.executable, "-m", "fewmask", "segment", video, "--support", support, "--out", out, "--weights",
                 few_shot_weights, "--instances", instances, *more]  # fmt: skip
        return subprocess.Popen([str(word) for word in words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait() == 0
    process = start(tmp_path / "killed")
    spool = tmp_path / "killed" / "results.spool"
    whole_size = (tmp_path / "whole" / "results.spool").stat().st_size
    while process.poll() is None and not (spool.exists() and spool.stat().st_size > whole_size // 2):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "tracks.json").exists()
    assert start(tmp_path / "killed", "--resume").wait() == 0
    for name in ["tracks.json", "results.spool", *(f"masks/{t:05d}.png" for t in range(300))]:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
