"""Many videos mined: the dataset of `fewmask mine`, whoever looks at which part of which video."""

import json
from pathlib import Path

import mining_red_square as red_square
import pytest
from mining_red_square import TOOLS

from fewmask.errors import ConfigError, VideoError
from fewmask.media.writer import VideoWriter
from fewmask.mining.mine_videos import apply_review, mine
from fewmask.mining.settings import MiningSettings
from fewmask.pipelines.many.manifest import ListedVideo
from fewmask.pipelines.many.mine import ChooseStep, LookStep, mine_many
from fewmask.pipelines.many.once import DONE, Crew

SETTINGS = MiningSettings(keep_every=3, flow_short_side=64)
STEPS = (LookStep(TOOLS["proposer"], TOOLS["background"], SETTINGS), ChooseStep(TOOLS["flow"], SETTINGS))


def contents(folder):
    """Every file of a dataset but the manifest, which holds times."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and path.relative_to(folder).parts[0] != "work"
    }


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two videos at 10 frames/s, of which b is cut off, a folder of frames, and a file that is none."""
    root = tmp_path_factory.mktemp("videos")
    for name, length, speed in (("a", 14, 2), ("b", 12, 3)):
        with VideoWriter(root / f"{name}.mp4", red_square.frame(0, speed)[0].shape[:2], 10.0) as writer:
            for step in range(length):
                writer.write(red_square.frame(step, speed)[0])
    red_square.write_video(root / "c", 5)
    (root / "bad.mp4").write_bytes(b"no video")
    return [root / "a.mp4", root / "b.mp4", root / "c", root / "bad.mp4"]


@pytest.fixture(scope="module")
def one(videos, tmp_path_factory):
    """What `fewmask mine` makes of them."""
    out = tmp_path_factory.mktemp("one") / "mined"
    mine(videos, out, settings=SETTINGS, **TOOLS)
    return out


def listed(videos):
    return [ListedVideo(path.stem, str(path)) for path in videos]


@pytest.mark.parametrize("part_seconds", [600.0, 0.6])
def test_the_dataset_is_that_of_one_process_without_parts(videos, one, tmp_path, part_seconds):
    found = mine_many(listed(videos), STEPS, Crew(str(tmp_path)), made_with={}, part_seconds=part_seconds)
    assert contents(tmp_path / "mined") == contents(one)
    assert list(found.problems) == ["bad"]
    parts = [path for path in (tmp_path / "parts" / "a").iterdir() if path.name.isdecimal()]
    assert len(parts) == (1 if part_seconds > 1 else 2)
    assert sum((path / DONE).is_file() for path in (tmp_path / "parts").glob("*/*")) == len(parts) * 2 + 1 + 4 + 3


def test_a_second_run_does_what_is_not_done_and_can_be_reviewed(videos, one, tmp_path):
    told = []
    mine_many(listed(videos[:2]), STEPS, Crew(str(tmp_path)), made_with={})
    mine_many(listed(videos), STEPS, Crew(str(tmp_path)), made_with={}, report=lambda done, *_: told.append(done))
    assert {done.unit.name for done in told if done.worked_s} == {"c", "bad"}
    assert contents(tmp_path / "mined") == contents(one)
    (tmp_path / "review.json").write_text(json.dumps({"accepted": [], "rejected": [["a", 1]]}))
    assert apply_review(tmp_path / "mined", tmp_path / "review.json").is_file()
    with pytest.raises(ConfigError, match="another proposer"):
        mine_many(listed(videos), STEPS, Crew(str(tmp_path)), made_with={"proposer": "sam"})


def test_a_part_that_breaks_off_ends_the_video_as_it_does_in_one_pass(videos, tmp_path):
    with VideoWriter(tmp_path / "whole.mp4", red_square.frame(0, 2)[0].shape[:2], 10.0) as writer:
        for step in range(40):
            writer.write(red_square.frame(step, 1)[0])
    data = bytearray((tmp_path / "whole.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data)
    mine([cut], tmp_path / "one" / "mined", settings=SETTINGS, **TOOLS)
    mine_many(listed([cut]), STEPS, Crew(str(tmp_path / "many")), made_with={}, part_seconds=0.9)
    assert contents(tmp_path / "many" / "mined") == contents(tmp_path / "one" / "mined")


def test_nothing_that_can_be_read(videos, tmp_path):
    with pytest.raises(VideoError, match="none of the 1 videos"):
        mine_many(listed(videos[3:]), STEPS, Crew(str(tmp_path)), made_with={})


@pytest.mark.slow
def test_from_and_to_an_object_store(videos, one, s3, tmp_path):
    remote = []
    for path in videos[:2]:
        with s3.open_output_stream(f"videos/in/{path.name}") as target:
            target.write(path.read_bytes())
        remote.append(ListedVideo(path.stem, f"s3://videos/in/{path.name}"))
    mine(videos[:2], tmp_path / "one", settings=SETTINGS, **TOOLS)
    mine_many(remote, STEPS, Crew("s3://videos/out"), made_with={}, part_seconds=0.6)
    from pyarrow import fs

    found = s3.get_file_info(fs.FileSelector("videos/out/mined", recursive=True))
    kept = {Path(entry.path).relative_to("videos/out/mined").as_posix() for entry in found if entry.is_file}
    wanted = contents(tmp_path / "one")
    assert kept == {*wanted, "manifest.json"}
    for name in ("instances.json", "ytvis.json", "review.html", "images/a/000003.jpg"):
        with s3.open_input_stream(f"videos/out/mined/{name}") as handle:
            assert handle.read() == wanted[name], name
