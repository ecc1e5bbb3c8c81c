"""A long video and many files: memory, threads and open files stay where they were.

FEWMASK_SOAK_FRAMES (50000) and FEWMASK_SOAK_FILES (1000) make it shorter.
"""

import gc
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
from moving_squares import SquareSegmenter, write_video

from fewmask.errors import VideoError
from fewmask.exports.run_outputs import Outputs
from fewmask.media.frames import open_frames
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.pipelines.runner import open_run, stream_to_directory
from fewmask.pipelines.segment_request import RunOptions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for memory and open files"),
]
FRAMES = int(os.environ.get("FEWMASK_SOAK_FRAMES", "50000"))
FILES = int(os.environ.get("FEWMASK_SOAK_FILES", "1000"))
MIB = 1 << 20


def now() -> tuple[float, int, int]:
    """Resident memory in MiB, threads, open files of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE") / MIB,
        threading.active_count(),
        len(list(Path("/proc/self/fd").iterdir())),
    )


def flat(samples: list[tuple[float, int, int]], slack_mib: float) -> None:
    """The second half of a run needs no more than the first did."""
    middle = len(samples) // 2
    early, late = samples[1:middle], samples[middle:]
    for place, slack in ((0, slack_mib), (1, 1), (2, 2)):
        before, after = max(sample[place] for sample in early), max(sample[place] for sample in late)
        assert after <= before + slack, (place, samples[:: max(1, len(samples) // 20)])


def test_a_long_video(tmp_path):
    torch.set_num_threads(1)
    clip = write_video(tmp_path / "long.mp4", FRAMES)
    samples = []

    def progress(done, _total):
        if done % max(4, FRAMES // 100 // 4 * 4) == 0:
            samples.append(now())

    options = RunOptions(source=str(clip), out=tmp_path / "run")
    outputs = Outputs(min_score=0.5, masks=False)
    model = MinVIS(SquareSegmenter())
    with open_run(options, outputs, torch.device("cpu"), inputs={}, settings={}) as run:
        stream = model.open_stream(StreamSettings(top_k=6, mode="bounded", batch=4))
        summary = stream_to_directory(stream, options, run, outputs, progress=progress)
    assert summary.frames == FRAMES
    assert len(samples) > 20
    flat([*samples, now()], 40)


def test_many_files(tmp_path):
    clip = write_video(tmp_path / "clip.mp4", 6)
    samples = []
    for number in range(FILES):
        path = tmp_path / f"{number}.mp4"
        shutil.copy(clip, path)
        with open_frames(path) as frames:
            assert sum(1 for _ in frames) == 6
        with open_frames(path, start=4) as frames:
            assert next(iter(frames)).index == 4
        if number % 7 == 0:
            path.write_bytes(path.read_bytes()[: 200 + number])
            with pytest.raises(VideoError), open_frames(path) as frames:
                list(frames)
        path.unlink()
        if number % max(1, FILES // 50) == 0:
            samples.append(now())
    flat(samples, 20)
