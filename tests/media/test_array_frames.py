"""Pictures in memory are sources, and what is none is told in one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.errors import VideoError
from fewmask.media.frames import open_frames, opened

from .conftest import picture
from .test_image_files import save_pictures

PICTURES = [picture(index) for index in range(5)]


def camera():
    """Writes every frame into the same memory, as cameras do."""
    buffer = np.empty_like(PICTURES[0])
    for rgb in PICTURES:
        buffer[:] = rgb
        yield buffer


@pytest.mark.parametrize(
    ("source", "length"),
    [
        (PICTURES, 5),
        (tuple(PICTURES), 5),
        (np.stack(PICTURES), 5),
        (torch.from_numpy(np.stack(PICTURES)), 5),
        ([torch.from_numpy(rgb) for rgb in PICTURES], 5),
        (np.stack(PICTURES)[:, ::-1][:, ::-1], 5),
        (iter(PICTURES), None),
        (camera, None),
    ],
    ids=["list", "tuple", "array", "tensor", "tensors", "view", "iterator", "one buffer"],
)
def test_pictures_in_memory(source, length):
    with open_frames(source() if callable(source) else source) as frames:
        assert (frames.size, frames.length, frames.fps, frames.is_live) == ((48, 64), length, None, False)
        found = list(frames)
    assert [frame.index for frame in found] == [0, 1, 2, 3, 4]
    for frame, rgb in zip(found, PICTURES, strict=True):
        assert frame.rgb.flags.c_contiguous
        np.testing.assert_array_equal(frame.rgb, rgb)


def test_one_picture_and_a_later_start():
    (frame,) = open_frames(PICTURES[3])
    np.testing.assert_array_equal(frame.rgb, PICTURES[3])
    assert [frame.index for frame in open_frames(iter(PICTURES), start=3)] == [3, 4]


def test_an_iterator_of_paths(tmp_path):
    folder = save_pictures(tmp_path / "x", ["a.png", "b.png"])
    assert open_frames(path for path in sorted(folder.iterdir())).file_names == ("a.png", "b.png")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "a source of type NoneType cannot be opened"),
        (3.5, "a source of type float"),
        (True, "a source of type bool"),
        (b"video.mp4", "a source of type bytes"),
        ({"a": 1}, "a source of type dict"),
        ([], "the list of images is empty"),
        (iter(()), "is empty|no picture was given"),
        ([1, 2], "frame 0 is of type int"),
        (["a.png", PICTURES[0]], "frame 0 is of type str"),
        (np.zeros((4, 4, 3)), r"an array of float64 \[4, 4, 3\] is no picture or video; give uint8"),
        (np.zeros((5, 3, 8, 8), np.uint8), r"an array of uint8 \[5, 3, 8, 8\]"),
        (np.zeros((8, 8), np.uint8), r"an array of uint8 \[8, 8\]"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"an array of uint8 \[0, 8, 8, 3\]"),
        (torch.zeros(4, 4, 3), r"an array of float32 \[4, 4, 3\]"),
        ([np.zeros((8, 8, 4), np.uint8)], r"frame 0 is uint8 \[8, 8, 4\]"),
        (np.zeros((1, 200, 3), np.uint8), "frames of 200x1 pixels cannot be used"),
        (np.zeros((20000, 700, 3), np.uint8), "frames of 700x20000 pixels cannot be used"),
    ],
)
def test_what_is_no_source(source, says):
    with pytest.raises(VideoError, match=says) as caught:
        open_frames(source)
    assert "\n" not in str(caught.value)


def test_a_later_picture_of_another_kind():
    for wrong, says in (
        (picture(0, 30, 40), "frame 1 is 40x30"),
        (PICTURES[0] / 255, "frame 1 is float64"),
        ("x", "str"),
    ):
        frames = iter(open_frames([PICTURES[0], wrong]))
        next(frames)
        with pytest.raises(VideoError, match=says):
            next(frames)


def test_an_open_source_stays_open():
    frames = open_frames(PICTURES)
    with opened(frames) as same:
        assert same is frames
        next(iter(same))
    assert len(list(frames)) == 4


def test_a_script_that_stops_in_the_middle_ends_well(tmp_path):
    """The threads that read ahead are at work when the interpreter goes down."""
    script = tmp_path / "script.py"
    script.write_text(
        "import fewmask, numpy as np\n"
        "from fewmask.media.prefetch import Prefetch\n"
        "frames = fewmask.open_frames(np.zeros((500, 64, 64, 3), np.uint8))\n"
        "first = Prefetch(frames, 2)\n"
        "second = Prefetch((frame.rgb.astype(float).sum() for frame in first), 2)\n"
        "kept = iter(second)\n"
        "print(next(kept))\n",
        encoding="utf-8",
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "0.0", "")
