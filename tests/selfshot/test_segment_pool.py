"""A video and its pool into a run directory: which supports, what is written, resuming, broken sources."""

import contextlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from small_pool import COLOURS, MeanColours, moving_square, write_video

from fewmask.errors import ConfigError, VideoError
from fewmask.media import rle
from fewmask.media.find_videos import find_videos
from fewmask.media.frames import open_frames
from fewmask.media.results import FrameResult
from fewmask.pipelines import segment_pool
from fewmask.pipelines.segment import run_segment
from fewmask.pipelines.segment_request import RunOptions, SharedWithPool
from fewmask.retrieval.pool import Pool
from fewmask.selfshot.pretrained import save_transformer
from fewmask.selfshot.segment import SelfShot
from fewmask.selfshot.stream import SelfShotStream, StreamSettings
from fewmask.selfshot.supports import choose_supports, spatial_segments, temporal_segments

from .test_transformer import NO_SUPPORTS, TINY, Oracle, started, two_squares

FRAMES = 100


class Killed(BaseException):
    """Stands for the process dying: nothing catches it."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    network = started(TINY.model_copy(update={"frames": 8}))
    with torch.no_grad():
        network.classify.weight.mul_(0.1)
        network.classify.bias.copy_(torch.tensor([2.0, 0.0]))  # so that something is found
        network.mask_head.over_time[-1].weight.normal_()
    folder = tmp_path_factory.mktemp("weights")
    save_transformer(network, folder)
    return str(folder)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for seed, (name, colour) in enumerate(COLOURS.items()):
        write_video(folder / f"{name}.mp4", moving_square(colour, 24, seed=seed))
    write_video(folder / "query.mp4", moving_square((190, 60, 50), FRAMES, seed=7, speed=0.5))
    (folder / "empty.mp4").touch()
    pool = Pool.open(folder / "pool")
    pool.add(find_videos([folder]), MeanColours())
    return folder


@pytest.fixture
def segment(weights, videos, monkeypatch):
    monkeypatch.setattr(segment_pool, "embedder_of", lambda *_, **__: MeanColours())

    def run(out, source=None, *, die_at=None, **options):
        def progress(done, total):
            if die_at is not None and done > die_at:
                raise Killed

        wanted = {"pool": videos / "pool", "shots": 2, **options}
        own = {name: wanted.pop(name) for name in SharedWithPool.__dataclass_fields__ if name in wanted}
        run = {"weights": weights, "device": "cpu", **wanted}
        run = RunOptions(source=str(source or videos / "query.mp4"), out=out, **run)
        return run_segment(run, SharedWithPool(**own), progress)

    return run


def origins(out):
    listed = json.loads((out / "supports.json").read_text())["supports"]
    return [(place["video"].rsplit("/", 1)[1], place["origin"]) for place in listed]


def test_supports_are_found_named_and_drawn(segment, tmp_path):
    summary = segment(tmp_path / "out", exports=("coco",))
    assert summary.frames == FRAMES
    assert summary.tracks > 0
    found = origins(tmp_path / "out")
    assert found[0] == ("red.mp4", "retrieved")
    assert len(found) == 2
    assert all(video != "query.mp4" for video, _ in found)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"manifest.json", "tracks.json", "overlay.mp4", "masks", "coco.json", "supports.png"}
    assert len(list((tmp_path / "out" / "masks").iterdir())) == FRAMES
    with Image.open(tmp_path / "out" / "supports.png") as sheet:
        assert sheet.height > 3 * 108
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    listed = json.loads((tmp_path / "out" / "supports.json").read_text())["supports"]
    assert manifest["settings"]["supports"] == [f"{place['first']}-{place['last']}" for place in listed]


@pytest.mark.parametrize("die_at", [3, 80])
def test_a_killed_run_goes_on_to_the_same_files(segment, tmp_path, die_at):
    segment(tmp_path / "whole", overlay=False)
    with contextlib.suppress(Killed):
        segment(tmp_path / "parts", overlay=False, die_at=die_at)
    segment(tmp_path / "parts", overlay=False, resume=True)
    for name in ["tracks.json", *(f"masks/{index:05d}.png" for index in range(FRAMES))]:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


class SeenObjects:
    """In place of `QueryInstances`: passes on what it gets and counts, so that a lost state shows."""

    seen: ClassVar[list[int]] = []

    def __init__(self, _model, *, outlines):
        assert outlines
        self.count = 0

    def step(self, frames, results):
        assert [frame.index for frame in frames] == [result.index for result in results]
        assert all(frame.rgb.shape[:2] == result.size for frame, result in zip(frames, results, strict=True))
        assert all(result.track_ids == (1,) for result in results)
        self.count += len(frames)
        self.seen.append(self.count)
        return results

    def state(self):
        return {"count": self.count}

    def restore(self, state):
        self.count = state["count"]


def test_objects_see_every_frame_once_with_what_is_common(segment, tmp_path, monkeypatch):
    monkeypatch.setattr(segment_pool, "QueryInstances", SeenObjects)
    monkeypatch.setattr(SeenObjects, "seen", [])
    quick = {"overlay": False, "masks": False, "instances": "objects"}
    segment(tmp_path / "whole", **quick)
    whole = list(SeenObjects.seen)
    assert whole[-1] == FRAMES
    with contextlib.suppress(Killed):
        segment(tmp_path / "parts", die_at=80, **quick)
    SeenObjects.seen.clear()
    segment(tmp_path / "parts", resume=True, **quick)
    assert whole[-len(SeenObjects.seen) :] == SeenObjects.seen
    assert len(SeenObjects.seen) < len(whole)
    with pytest.raises(ConfigError, match="minvis"):
        segment(tmp_path / "x", instances="minvis")


@pytest.mark.slow
def test_a_killed_run_with_objects_goes_on_to_the_same_files(segment, tmp_path):
    segment(tmp_path / "whole", overlay=False, instances="objects")
    with contextlib.suppress(Killed):
        segment(tmp_path / "parts", overlay=False, instances="objects", die_at=80)
    segment(tmp_path / "parts", overlay=False, instances="objects", resume=True)
    for name in ["tracks.json", *(f"masks/{index:05d}.png" for index in range(FRAMES))]:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_is_common_is_one_row():
    masks = np.zeros((3, 4, 5), bool)
    masks[0, 0, 0] = masks[1, 3] = True
    rows = (rle.encode(masks[0]), None, rle.encode(masks[1]))
    result = FrameResult(7, (4, 5), (3, 5, 9), (1, 1, 1), (0.4, 0.9, 0.6), rows, 0.25)
    together = segment_pool.common_region(result, 0.5)
    assert (together.index, together.track_ids, together.scores, together.time_s) == (7, (1,), (0.6,), 0.25)
    np.testing.assert_array_equal(rle.decode(together.masks[0]), masks[1])  # the first is doubtful
    both = segment_pool.common_region(result, 0.4)
    np.testing.assert_array_equal(rle.decode(both.masks[0]), masks[0] | masks[1])
    nothing = segment_pool.common_region(result.rows([1]), 0.5)  # the row stays: what counts classes by it goes on
    assert (nothing.track_ids, nothing.masks) == ((1,), (None,))


def test_settings_from_few_shot_to_random(segment, videos, tmp_path):
    quick = {"overlay": False, "masks": False}
    picture = tmp_path / "square.png"
    with open_frames(videos / "red.mp4") as frames:
        Image.fromarray(next(iter(frames)).rgb).save(picture)
    given = (videos / "blue.mp4", picture)
    segment(tmp_path / "few", pool=None, support_video=given, **quick)
    assert origins(tmp_path / "few") == [("blue.mp4", "given"), ("square.png", "given")]
    segment(tmp_path / "semi", support_video=given, shots=3, **quick)
    # The picture is one of red.mp4, which is therefore not found again.
    assert origins(tmp_path / "semi")[1:] == [("square.png", "given"), ("grey.mp4", "retrieved")]
    segment(tmp_path / "random", random_supports=True, seed=3, **quick)
    segment(tmp_path / "again", random_supports=True, seed=3, **quick)
    assert origins(tmp_path / "random") == origins(tmp_path / "again")
    assert {how for _, how in origins(tmp_path / "random")} == {"random"}
    with pytest.raises(ConfigError, match="raise -k"):
        segment(tmp_path / "x", support_video=given, shots=1)
    with pytest.raises(ConfigError, match="no supports"):
        segment(tmp_path / "x", pool=None, shots=2)
    assert not (tmp_path / "x").exists()


def test_other_supports_are_another_run(segment, tmp_path):
    segment(tmp_path / "out", overlay=False, masks=False)
    with pytest.raises(ConfigError, match="supports"):
        segment(tmp_path / "out", overlay=False, masks=False, shots=3, resume=True)


def test_a_given_support_is_not_found_again_and_must_be_the_same_on_resume(segment, videos, tmp_path):
    quick = {"overlay": False, "masks": False, "shots": 3}
    given = tmp_path / "given.mp4"
    given.write_bytes((videos / "red.mp4").read_bytes())
    segment(tmp_path / "own", support_video=(videos / "red.mp4",), **quick)
    assert [video for video, _ in origins(tmp_path / "own")].count("red.mp4") == 1
    segment(tmp_path / "out", support_video=(given,), **quick)
    segment(tmp_path / "out", support_video=(given.parent / "." / "given.mp4",), resume=True, **quick)
    given.write_bytes((videos / "blue.mp4").read_bytes())
    with pytest.raises(ConfigError, match=r"given\.mp4 has changed"):
        segment(tmp_path / "out", support_video=(given,), resume=True, **quick)


def test_the_last_digits_of_a_cosine_do_not_make_another_run(segment, tmp_path, monkeypatch):
    segment(tmp_path / "out", overlay=False, masks=False)
    retrieve = segment_pool.retrieve

    def a_digit_off(*arguments, **options):
        found = retrieve(*arguments, **options)
        return replace(found, neighbours=tuple(replace(near, score=near.score + 1e-7) for near in found.neighbours))

    monkeypatch.setattr(segment_pool, "retrieve", a_digit_off)
    segment(tmp_path / "out", overlay=False, masks=False, resume=True)


def test_options_that_would_do_nothing_are_refused(segment, videos, tmp_path):
    given = {"support_video": (videos / "blue.mp4",)}
    for option in ({"random_supports": True}, {"encoder": "fixed"}, {"seed": 4}):
        with pytest.raises(ConfigError, match=next(iter(option)).replace("_", "-")):
            segment(tmp_path / "x", pool=None, **given, **option)
    with pytest.raises(ConfigError, match="seed"):
        segment(tmp_path / "x", seed=4)


def test_a_query_that_changes_its_size_keeps_what_came_before(segment, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, rgb in enumerate(moving_square(COLOURS["red"], 20, seed=0)):
        Image.fromarray(rgb[:, : 128 if index < 13 else 96]).save(folder / f"{index:03d}.png")
    with pytest.raises(VideoError, match="size"):
        segment(tmp_path / "out", folder, overlay=False)
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 13
    assert json.loads((tmp_path / "out" / "supports.json").read_text())["supports"]


def test_a_source_that_breaks_keeps_what_came_before(segment, videos, tmp_path):
    whole = (videos / "query.mp4").read_bytes()
    (tmp_path / "torn.mp4").write_bytes(whole)
    with open_frames(videos / "query.mp4") as frames:
        folder = tmp_path / "frames"
        folder.mkdir()
        for frame in frames:
            if frame.index < 20:
                Image.fromarray(frame.rgb).save(folder / f"{frame.index:03d}.png")
    (folder / "013.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match="13 frames before it"):
        segment(tmp_path / "out", folder, overlay=False)
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 13


def test_a_restored_stream_goes_on_exactly():
    whole = SelfShotStream(Oracle(), NO_SUPPORTS)
    frames = list(two_squares(40))
    expected = [result for frame in frames for result in whole.step(frame)] + whole.finish()
    first = SelfShotStream(Oracle(), NO_SUPPORTS)
    results = [result for frame in frames[:22] for result in first.step(frame)]
    assert first.state() is None  # in the midst of a window
    last = results[-1].index
    upto = SelfShotStream(Oracle(), NO_SUPPORTS)
    for frame in frames[: last + 1]:
        upto.step(frame)
    state = json.loads(json.dumps(upto.state()))
    again = SelfShotStream(Oracle(), NO_SUPPORTS)
    again.restore(state, [frames[index] for index in state["frames"]])
    results += [result for frame in frames[last + 1 :] for result in again.step(frame)] + again.finish()
    # The oracle counts its own windows and so lists tracks in another order.
    for one, other in zip(results, expected, strict=True):
        assert one.index == other.index
        assert dict(zip(one.track_ids, one.masks, strict=True)) == dict(zip(other.track_ids, other.masks, strict=True))


def test_python_mirrors_the_verb_and_the_query_may_support_itself(weights, videos):
    model = SelfShot.from_pretrained(weights, device="cpu")
    with pytest.raises(ConfigError, match="call fit"):
        model.segment(videos / "red.mp4")
    model.fit(choose_supports(None, [videos / "blue.mp4"], 1))
    first = model.segment(videos / "red.mp4", StreamSettings(min_score=0.0))
    assert (first.length, first.size, len(first.tracks) > 0) == (24, (72, 128), True)
    query = [frame.rgb for frame in open_frames(videos / "red.mp4")]
    for cut in (temporal_segments, spatial_segments):
        model.fit_clips(cut(query, 3, TINY.size))
        assert model.segment(videos / "red.mp4").length == 24
    with pytest.raises(ConfigError, match="no support"):
        model.fit_clips([])


LONG = """
import re, sys
from pathlib import Path
import numpy as np, torch
from fewmask.media.frames import Frame
from fewmask.selfshot.pretrained import load_transformer
from fewmask.selfshot.stream import SelfShotStream, StreamSettings

torch.set_num_threads(1)
network = load_transformer(sys.argv[1])
with torch.inference_mode():
    supports = network.encode_supports([torch.zeros(2, *network.config.size, 3, dtype=torch.uint8)])
stream = SelfShotStream(network, supports, StreamSettings(min_score=0.0))
frames = peak = 0
for index in range(int(sys.argv[2])):
    rgb = np.random.default_rng(index).integers(0, 255, (180, 320, 3)).astype(np.uint8)
    frames += len(stream.step(Frame(index, index / 25, rgb)))
    if index % 20 == 0:
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]))
frames += len(stream.finish())
print(frames, peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its memory from /proc")
def test_two_thousand_frames_take_the_memory_of_two_hundred(weights):
    peaks = []
    for length in (200, 2000):
        command = [sys.executable, "-c", LONG, weights, str(length)]
        frames, peak = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        assert frames == length
        peaks.append(peak / 1024)
    assert peaks[1] < peaks[0] + 30, f"{peaks} MB"
