import hashlib
import os
import subprocess
import sys

import av
import numpy as np
import pytest

from fewmask.errors import VideoError
from fewmask.media.frames import open_frames
from fewmask.media.writer import VideoWriter

from .conftest import picture


@pytest.mark.parametrize("size", [(48, 64), (35, 51), (1, 1)])
def test_written_video_reads_back(tmp_path, size):
    path = tmp_path / "new" / "out.mp4"
    with VideoWriter(path, size, 29.97) as writer:
        for index in range(7):
            writer.write(picture(index, *size) if size != (1, 1) else np.full((1, 1, 3), 90, np.uint8))
            assert not path.exists()
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    source = open_frames(path)
    assert source.size == tuple(length + length % 2 for length in size)
    assert source.length == 7
    assert source.fps == pytest.approx(29.97, abs=0.01)
    frames = list(source)
    if size != (1, 1):
        height, width = size
        assert np.abs(frames[4].rgb[:height, :width].astype(int) - picture(4, *size)).mean() < 12
    assert [path.name for path in path.parent.iterdir()] == ["out.mp4"]


def test_nothing_is_left_after_an_error(tmp_path):
    path = tmp_path / "out.mp4"
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(path, (48, 64), 10) as writer:  # noqa: PT012
        writer.write(picture(0))
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VideoError, match=r"out\.mp4: no frame was written"), VideoWriter(path, (48, 64), 10):
        pass
    assert list(tmp_path.iterdir()) == []


def test_closing_early_keeps_what_was_written(tmp_path):
    path = tmp_path / "out.mp4"
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(path, (48, 64), 10) as writer:  # noqa: PT012
        writer.write(picture(0))
        writer.close()
        raise RuntimeError("stop")
    assert open_frames(path).length == 1


def test_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_text("old")
    with VideoWriter(path, (48, 64), 10) as writer:
        writer.write(picture(0))
        assert path.read_text() == "old"
    assert open_frames(path).length == 1


def test_bad_frames_sizes_and_places(tmp_path):
    with pytest.raises(VideoError, match=r"frame 0 has shape \[4, 4, 3\], expected \[48, 64, 3\]"):  # noqa: SIM117
        with VideoWriter(tmp_path / "a.mp4", (48, 64), 10) as writer:
            writer.write(np.zeros((4, 4, 3), np.uint8))
    for size, fps in (((0, 4), 10), ((4, 4), 0), ((4, 4), float("nan"))):
        with pytest.raises(VideoError, match="cannot write"):
            VideoWriter(tmp_path / "b.mp4", size, fps)
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoError, match=r"c\.mp4: cannot be written"):
        VideoWriter(tmp_path / "file" / "c.mp4", (4, 4), 10)
    with pytest.raises(VideoError, match=r"d\.nonsense: cannot be written"):
        VideoWriter(tmp_path / "d.nonsense", (4, 4), 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


SQUARES = """
import sys
import cv2, numpy as np
from fewmask.media.writer import VideoWriter
colors = np.random.default_rng(3).integers(0, 256, (4, 6, 3), dtype=np.uint8)
for height, width in ((64, 96), (64, 112), (240, 320)):
    scenery = cv2.resize(colors, (width, height), interpolation=cv2.INTER_CUBIC)
    with VideoWriter(f"{sys.argv[1]}/{width}.mp4", (height, width), 10) as video:
        for index in range(16):
            picture = scenery.copy()
            picture[8:24, 4 + 2 * index : 20 + 2 * index] = (230, 40, 40)
            picture[36:56, 70 - 2 * index : 90 - 2 * index] = (30, 60, 220)
            video.write(picture)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc fills memory on request")
def test_equal_pictures_give_equal_bytes_whatever_lay_in_the_memory(tmp_path):
    """x264's code for AVX-512 reads what nobody wrote; left to itself it gives two or three files here."""
    source, found = os.pathsep.join(filter(None, sys.path)), []
    for filled in ("0", "50", "200"):
        folder = tmp_path / filled
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": source, "MALLOC_PERTURB_": filled}
        subprocess.run([sys.executable, "-c", SQUARES, str(folder)], env=environment, check=True)
        found.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())])
    assert found[0] == found[1] == found[2]
