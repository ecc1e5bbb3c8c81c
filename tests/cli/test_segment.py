"""The command line as users meet it: real runs with a tiny random network, and one clear line for every mistake."""

import json
import subprocess
import sys
import time

import pytest
import torch
from moving_squares import picture, write_video
from PIL import Image

from fewmask.cli import main as command
from fewmask.media.frames import open_frames
from fewmask.minvis.architecture import Architecture, build
from fewmask.minvis.pretrained import save_small
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings, resolve

TINY = Architecture(backbone="timm:mobilenetv3_small_050", queries=6, width=32, encoder_layers=1, decoder_layers=1,
                    feedforward=32)  # fmt: skip


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    torch.manual_seed(0)
    save_small(build(TINY), TINY, folder, categories=["object"], short_side=64)
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clips") / "squares.mp4", 10)


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


def test_segment_a_file_a_folder_and_a_glob_give_the_same_tracks(fewmask, weights, clip, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for t in range(10):
        Image.fromarray(picture(t)).save(folder / f"{t}.png")
    found = {}
    for name, source in (("file", clip), ("folder", folder), ("glob", f"{folder}/*.png")):
        out = tmp_path / name
        code, said, errors = fewmask(
            "segment", source, "--out", out, "--weights", weights, "--precision", "fp32", "--min-score", 0, "--json"
        )
        assert code == 0, errors
        summary = json.loads(said)
        assert summary["frames"] == 10
        found[name] = json.loads((out / "tracks.json").read_text())
        assert len(found[name]) == 6
        assert all(len(track["segmentations"]) == 10 for track in found[name])
        assert {p.name for p in out.iterdir()} == {
            "tracks.json", "overlay.mp4", "masks", "manifest.json", "results.spool", "video.json"
        }  # fmt: skip
    assert found["folder"] == found["glob"]


def mistakes(tmp_path):
    """Name -> (words of the command, what the line must name)."""
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    no_images = tmp_path / "no_images"
    no_images.mkdir()
    sizes = tmp_path / "sizes"
    sizes.mkdir()
    Image.new("RGB", (32, 32)).save(sizes / "a.png")
    Image.new("RGB", (48, 32)).save(sizes / "b.png")
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").touch()
    other = tmp_path / "other_network"
    save_small(torch.nn.Linear(2, 2), TINY, other, categories=["object"], short_side=64)
    pickled = tmp_path / "model.pkl"
    pickled.write_bytes(b"\x80\x04cos\nsystem\n")
    out = ("--out", tmp_path / "out")
    good = tmp_path / "good.png"
    Image.new("RGB", (64, 64)).save(good)
    return {
        "missing file": (("nothing.mp4", *out), "nothing.mp4"),
        "empty file": ((empty, *out), "empty.mp4"),
        "text as video": ((text, *out), "text.mp4"),
        "folder without images": ((no_images, *out), "no_images"),
        "glob without matches": ((f"{tmp_path}/*.webp", *out), "*.webp"),
        "used folder": ((good, "--out", used), "--resume"),
        "unwritable folder": ((good, "--out", good / "inside"), "good.png"),
        "impossible device": ((good, *out, "--device", "cuda:99"), "cuda:99"),
        "unknown device": ((good, *out, "--device", "abacus"), "abacus"),
        "no weights there": ((good, *out, "--weights", tmp_path / "nowhere"), "nowhere"),
        "other architecture": ((good, *out, "--weights", other), "a larger network"),
        "a pickle": ((good, *out, "--weights", pickled), "convert"),
        "unknown precision": ((good, *out, "--precision", "int4"), "int4"),
        "unknown mode": ((good, *out, "--mode", "fast"), "fast"),
        "batch not a number": ((good, *out, "--batch", "many"), "many"),
        "unknown export": ((good, *out, "--export", "voc"), "voc"),
    }


@pytest.mark.parametrize("name", [
    "missing file", "empty file", "text as video", "folder without images", "glob without matches", "used folder",
    "unwritable folder", "impossible device", "unknown device", "no weights there", "other architecture", "a pickle",
    "unknown precision", "unknown mode", "batch not a number", "unknown export",
])  # fmt: skip
def test_a_mistake_gives_one_line_and_exit_code_2(fewmask, weights, tmp_path, name):
    words, named = mistakes(tmp_path)[name]
    words = [*words] if "--weights" in words else [*words, "--weights", weights]
    code, said, errors = fewmask("segment", *words)
    assert code == 2
    assert said == ""
    lines = [line for line in errors.splitlines() if line.startswith("fewmask: ")]
    assert len(lines) == 1
    assert errors.splitlines()[-1] == lines[0]
    assert named in lines[0]
    assert "Traceback" not in errors


def test_images_of_two_sizes_keep_those_before(fewmask, weights, tmp_path):
    mistakes(tmp_path)
    code, _, errors = fewmask("segment", tmp_path / "sizes", "--out", tmp_path / "run", "--weights", weights)
    assert code == 2
    assert "b.png" in errors
    assert [path.name for path in (tmp_path / "run" / "masks").iterdir()] == ["a.png"]


def test_without_a_verb_the_help_is_shown(fewmask):
    code, said, _ = fewmask("--version")
    assert code == 0
    assert said.strip()


def test_import_brings_no_heavy_library():
    script = (
        "import sys, fewmask, fewmask.cli.main; "
        "heavy = {'torch', 'transformers', 'cv2', 'av', 'numpy', 'scipy', 'faiss'} & set(sys.modules); "
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_kill_9_and_resume_equals_an_uninterrupted_run(weights, tmp_path):
    video = write_video(tmp_path / "long.mp4", 600)

    def start(out, *more):
        words = [sys.executable, "-m", "fewmask", "segment", video, "--out", out, "--weights", weights, *more]
        return subprocess.Popen([str(word) for word in words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait() == 0
    process = start(tmp_path / "killed")
    spool = tmp_path / "killed" / "results.spool"
    whole_size = (tmp_path / "whole" / "results.spool").stat().st_size
    while process.poll() is None and not (spool.exists() and spool.stat().st_size > whole_size // 3):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "tracks.json").exists()
    assert start(tmp_path / "killed", "--resume").wait() == 0
    # The overlay shows the same, but a threaded H.264 encoder does not promise the same bytes twice.
    names = ["tracks.json", "results.spool", *(f"masks/{t:05d}.png" for t in range(600))]
    for name in names:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_profile_says_where_the_time_went_and_changes_no_result(fewmask, weights, clip, tmp_path):
    words = ["segment", clip, "--weights", weights, "--precision", "fp32", "--min-score", 0, "--no-overlay"]
    code, said, errors = fewmask(*words, "--out", tmp_path / "plain", "--json")
    assert code == 0, errors
    assert "profile" not in json.loads(said)
    code, said, errors = fewmask(*words, "--out", tmp_path / "profiled", "--json", "--profile")
    assert code == 0, errors
    profile = json.loads(said)["profile"]
    assert {"decode", "resize", "network", "linking", "encode", "write", "files"} <= set(profile["stages"])
    assert profile["stages"]["write"]["calls"] == profile["stages"]["linking"]["calls"] == 10
    assert 0 < profile["first_frame_s"] <= profile["total_s"]
    for name in ("tracks.json", "results.spool"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "profiled" / name).read_bytes()
    code, said, errors = fewmask(*words, "--out", tmp_path / "table", "--profile")
    assert code == 0, errors
    assert "frames/s" in said
    assert "\n  network" in said


def test_overlapped_stages_give_the_bytes_of_one_batch_after_another(weights, clip):
    model = MinVIS.from_pretrained(weights)
    with open_frames(clip) as source:
        frames = list(source)
    settings = resolve(StreamSettings(), ArrayFacts(), model.segmenter.device)
    overlapped = [result for group in model.open_stream(settings).run(frames) for result in group]
    plain = model.open_stream(settings)
    batches = [frames[start : start + settings.batch] for start in range(0, len(frames), settings.batch)]
    assert len(batches) > 2
    assert overlapped == [result for batch in batches for result in plain.step(batch)]


class ArrayFacts:
    size, length, is_live = (64, 96), 10, False
