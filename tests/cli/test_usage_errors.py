"""A mistyped command is told in a few lines with exit code 2, through the real entry point."""

import subprocess
import sys

import pytest
from PIL import Image

from fewmask.cli import main as command


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["synth", "--objct", "3"], "--objct"),
        (["nosuch"], "nosuch"),
        (["synth"], "Missing option"),
        (["synth", "--from", "x", "--out", "y", "--videos", "many"], "--videos"),
        (["synth", "--from", "x", "--out", "y", "--videos", "2", "--object-size", "big"], "--object-size"),
        (["train", "nosuch"], "nosuch"),
    ],
)
def test_usage_errors_end_with_two(arguments, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fewmask", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert told in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["segment", "clip.png", "--support", "clip.png", "--mode", "exact"], "--mode cannot be used with --support"),
        (
            ["segment", "clip.png", "--support", "clip.png", "--pool", "clip.png"],
            "--pool cannot be used with --support",
        ),
        (["segment", "clip.png", "--pool", "x", "--batch", "2"], "--batch cannot be used with --pool"),
        (["segment", "clip.png", "--support-video", "x", "--negative", "y"], "--negative cannot be used with"),
        (["segment", "clip.png", "-k", "3"], "-k cannot be used without --support or --pool"),
        (["segment", "clip.png", "--instances", "none"], "--instances cannot be used without --support"),
        (["segment", "nothing.mp4"], "nothing.mp4"),
        (["segment", "clip.png", "--support", "nothing"], "nothing"),
        (["segment", "clip.png", "--weights", "./nothing"], "./nothing"),
        (["segment", "clip.png", "--device", "gpu"], "gpu"),
        (["train", "minvis", "nothing.toml", "--data", "clip.png"], "RECIPE"),
        (["train", "vipmt", "clip.png", "--data", "nothing.json", "--backbone", "clip.png"], "--data"),
        (["mine", "clip.png", "--flow", "fast"], "fast"),
        (["mine", "nothing.mp4"], "nothing.mp4: no such file or folder; check"),
        (["mine", "nothing.mp4", "neither.mp4"], "nothing.mp4: no such file or folder, nor any of the 1 after it"),
        (["grow", "nothing", "--like", "clip.png"], "nothing: no such"),
        (["grow", "clip.png", "--like", "nothing"], "--like"),
        (["grow", "clip.png", "--weights", "./nothing"], "./nothing"),
        (["index", "nothing"], "nothing: no such"),
        (["index", "clip.png", "--encoder", "./nothing"], "./nothing"),
        (["mine", "clip.png", "--background", "nothing"], "--background"),
        (["synth", "--from", "nothing.json", "--videos", "1"], "--from"),
        (["convert", "minvis", "nothing.pth"], "CKPT"),
    ],
)
def test_what_can_be_told_at_once_is_told_in_one_line_without_torch(arguments, told, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "clip.png")
    script = (
        "import sys; from fewmask.cli.main import main\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", script, *arguments, "--out", "out"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.strip() == "[]"
    assert done.stderr.startswith("fewmask: ")
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["eval", "ytvis", "--gt", "nothing.json", "--pred", "clip.png"], "look at --gt"),
        (["eval", "ovis", "--gt", "clip.png", "--pred", "nothing.json"], "look at --pred"),
        (["eval", "davis", "--gt", "nothing", "--pred", "clip.png"], "look at --gt"),
        (["eval", "fsvos", "--gt", "clip.png", "--pred", "clip.png", "--pred", "nothing"], "look at --pred"),
        (["eval", "coco", "--gt", "clip.png", "--pred", "nothing"], "look at --pred"),
        (["eval", "vc", "--gt", "clip.png", "--pred", "clip.png", "--json-file", "clip.png"], "is already there"),
        (["export", "nothing", "--format", "coco"], "look at RUN"),
        (["studio", ".", "nothing"], "nothing: no such file or folder"),
        (["studio", ".", "--sam", "nothing"], "look at --sam"),
    ],
)
def test_mistyped_paths_of_quick_verbs_are_told_before_numpy_is_loaded(arguments, told, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "clip.png")
    script = (
        "import sys; from fewmask.cli.main import main\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'numpy', 'cv2', 'av', 'fastapi'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (2, "[]"), done
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["clip.png"]


def test_help_has_a_short_form_and_completion_is_on(monkeypatch, capsys):
    for words in (["-h"], ["segment", "-h"], ["train", "minvis", "-h"]):
        monkeypatch.setattr(sys, "argv", ["fewmask", *words])
        with pytest.raises(SystemExit) as ended:
            command.main()
        assert ended.value.code == 0
        assert "--help" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["fewmask", "-h"])
    with pytest.raises(SystemExit):
        command.main()
    assert "--install-completion" in capsys.readouterr().out
