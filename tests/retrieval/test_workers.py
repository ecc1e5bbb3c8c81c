import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from small_pool import COLOURS, moving_square, write_video

from fewmask.errors import FewmaskError
from fewmask.media.find_videos import find_videos
from fewmask.retrieval.embedded_video import embed_here
from fewmask.retrieval.embedders import load_embedder
from fewmask.retrieval.index import ClipIndex
from fewmask.retrieval.pool import Pool
from fewmask.retrieval.workers import embed_in_processes, embed_on_ray

pytestmark = pytest.mark.slow
FIXED = partial(load_embedder, "fixed", device="cpu")


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for seed, colour in enumerate([*COLOURS.values(), (200, 200, 40), (40, 200, 200)]):
        write_video(folder / f"{seed}.mp4", moving_square(colour, 24, seed=seed))
    write_video(folder / "copy.mp4", moving_square(COLOURS["red"], 24, seed=0))
    (folder / "empty.mp4").touch()
    return find_videos([folder])


def contents(folder):
    index = ClipIndex.open(folder)
    return sorted(index.ids), index.vectors(sorted(index.ids))


def spread(kind):
    if kind is embed_on_ray:
        pytest.importorskip("ray", reason="Ray is not installed")
    return lambda some: kind(some, FIXED, 5.0, 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # all of these are Ray's own
@pytest.mark.parametrize("kind", [embed_in_processes, embed_on_ray])
def test_workers_make_the_index_that_one_process_makes(videos, tmp_path, kind):
    alone, together = Pool.open(tmp_path / "alone"), Pool.open(tmp_path / "together")
    alone.add(videos, FIXED())
    together.add(videos, FIXED(), embed=spread(kind))
    first, second = contents(tmp_path / "alone"), contents(tmp_path / "together")
    assert first[0] == second[0]
    np.testing.assert_allclose(first[1], second[1], atol=1e-5)
    assert alone.videos == together.videos
    assert sum(record.copies for record in together.videos.values()) == 1
    assert sum(record.problem is not None for record in together.videos.values()) == 1


@pytest.mark.parametrize("kind", [embed_in_processes, embed_on_ray])
def test_a_stopped_run_goes_on_with_the_rest(videos, tmp_path, kind):
    make = spread(kind)

    def stopped(some):
        for number, video in enumerate(make(some)):
            if number == 3:
                raise KeyboardInterrupt
            yield video

    pool = Pool.open(tmp_path / "pool")
    with pytest.raises(KeyboardInterrupt):
        pool.add(videos, FIXED(), embed=stopped)
    assert len(Pool.open(tmp_path / "pool").videos) == 3
    asked = []
    pool = Pool.open(tmp_path / "pool")
    pool.add(videos, FIXED(), embed=lambda some: (asked.extend(some), make(some))[1])
    assert len(asked) == len(videos) - 3
    assert len(pool.videos) == len(videos)
    Pool.open(tmp_path / "alone").add(videos, FIXED())
    assert contents(tmp_path / "pool")[0] == contents(tmp_path / "alone")[0]


def test_a_worker_that_dies_is_told(videos):
    with pytest.raises(FewmaskError, match="worker died"):
        list(embed_in_processes(videos, partial(os._exit, 1), 5.0, 2))


def test_results_come_in_the_order_of_the_videos(videos):
    order = [videos[place] for place in (5, 0, 3, 7, 2)]
    found = list(embed_in_processes(order, FIXED, 5.0, 2))
    assert [video.path for video in found] == order
    for one, other in zip(found, embed_here(order, FIXED, 5.0), strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)


WRITER = """
import sys, numpy as np
from fewmask.retrieval.index import ClipIndex
import fewmask.retrieval.index as module
module._JOURNAL_FILES = 5
index = ClipIndex.open(sys.argv[1])
done = len(index) // 10
print("ready", flush=True)
for step in range(done, 100000):
    vectors = np.random.default_rng(step).standard_normal((10, 32)).astype(np.float32)
    index.add([f"{step}-{row}" for row in range(10)], vectors)
    print(step, flush=True)
"""


def test_a_process_killed_at_any_moment_leaves_a_readable_index_with_all_it_reported(tmp_path):
    chance = np.random.default_rng(0)
    folder, reported = tmp_path / "index", -1
    for _ in range(8):
        command = [sys.executable, "-c", WRITER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(float(chance.uniform(0.02, 0.4)))
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split("\n")
        whole = [int(line) for line in lines[:-1]]
        reported = max([reported, *whole])
        index = ClipIndex.open(folder)
        assert len(index) % 10 == 0  # a change is there entirely or not at all
        assert len(index) // 10 - 1 in (reported, reported + 1)  # the last may be on disk, but not yet reported
        if len(index):
            step = len(index) // 10 - 1
            truth = np.random.default_rng(step).standard_normal((10, 32)).astype(np.float32)
            ids, scores = index.search(truth[:1], 1)
            assert ids[0, 0] == f"{step}-0"
            assert scores[0, 0] == pytest.approx(1, abs=1e-5)
    assert reported > 8
    json.loads((folder / "index.json").read_text())


def test_a_pool_killed_while_indexing_is_completed_by_the_next_run(videos, tmp_path):
    script = (
        "import sys; from pathlib import Path; import fewmask.retrieval.pool as p; p._SAVE_EVERY_S = 0\n"
        "from fewmask.retrieval.embedders import load_embedder\n"
        "p.Pool.open(sys.argv[1]).add([Path(v) for v in sys.argv[2:]], load_embedder('fixed', device='cpu'),"
        " report=lambda now: print(now.done, flush=True))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "pool"), *map(str, videos)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.kill()
    assert 2 <= len(Pool.open(tmp_path / "pool").videos) < len(videos)
    subprocess.run(command, check=True, capture_output=True)
    Pool.open(tmp_path / "alone").add(videos, FIXED())
    assert contents(tmp_path / "pool")[0] == contents(tmp_path / "alone")[0]
