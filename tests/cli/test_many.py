"""`fewmask many`: what its verbs print, and what they refuse."""

import json
import sys

import pytest
from small_pool import COLOURS, moving_square, write_video

from fewmask.cli import main as command


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["fewmask", "many", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        command.main()
    return stop.value.code


@pytest.fixture
def place(tmp_path):
    for seed, name in enumerate(("red", "blue")):
        write_video(tmp_path / f"{name}.mp4", moving_square(COLOURS[name], 12, seed=seed))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "videos.txt").write_text("red.mp4\nblue.mp4\nbad.mp4\n")
    return tmp_path


def test_index_says_what_it_did_and_what_a_thousand_hours_take(monkeypatch, capsys, place):
    words = ("index", place / "videos.txt", "--out", place / "out", "--device", "cpu")
    assert run(monkeypatch, *words, "--price", "2") == 0
    said = capsys.readouterr()
    assert "2 clips of 3 videos, 1 with problems" in said.out
    assert "a thousand hours of video take" in said.out
    assert " at 2 an hour" in said.out
    assert "parts/red/0000" in said.err
    assert run(monkeypatch, *words, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["videos"], again["clips"], list(again["problems"])) == (3, 2, [str(place / "bad.mp4")])
    assert {unit["worked_s"] for unit in again["units"]} == {0.0}
    assert again["worker_hours_per_1000_hours"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("segment", "nothing.txt", "--out", "o"), "nothing.txt"),
        (("segment", "videos.txt", "--out", "o", "--weights", "./none"), "./none"),
        (("mine", "videos.txt", "--out", "o", "--proposals", "magic"), "magic"),
        (("index", "videos.txt", "--out", "nowhere://bucket/x"), "nowhere"),
        (("eval", "videos.txt", "--out", "o", "--gt", "none.json", "--pred", "none"), "none"),
    ],
)
def test_what_cannot_be_done_is_one_line(monkeypatch, capsys, place, words, said):
    monkeypatch.chdir(place)
    assert run(monkeypatch, *words) == 2
    errors = capsys.readouterr().err
    assert said in errors.splitlines()[-1]
    assert "Traceback" not in errors
