"""Many videos indexed: the pool of one process whoever embeds, parts of long videos, an object store."""

from pathlib import Path

import numpy as np
import pytest
from small_pool import COLOURS, MeanColours, moving_square, write_video

from fewmask.errors import ConfigError
from fewmask.media.clip_place import ClipPlace
from fewmask.media.find_videos import find_videos
from fewmask.pipelines.many.index import EmbedStep, index_many
from fewmask.pipelines.many.manifest import ListedVideo
from fewmask.pipelines.many.once import Crew
from fewmask.retrieval.index import ClipIndex
from fewmask.retrieval.pool import Pool
from fewmask.retrieval.retrieve import retrieve

STEP = EmbedStep(MeanColours, 2.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four videos of 2.4 s at 10 frames/s, one of 10 s, a copy and an empty file."""
    folder = tmp_path_factory.mktemp("pool")
    for seed, (name, colour) in enumerate(COLOURS.items()):
        write_video(folder / f"{name}.mp4", moving_square(colour, 24, seed=seed))
    write_video(folder / "long.mp4", moving_square((200, 200, 40), 100, seed=9, speed=0.5))
    write_video(folder / "red_again.mp4", moving_square(COLOURS["red"], 24, seed=0))
    (folder / "zero.mp4").touch()
    return folder


def listed(folder):
    return [ListedVideo(path.stem, str(path)) for path in find_videos([folder])]


def contents(place):
    index = ClipIndex.open(Path(place) / "pool")
    return sorted(index.ids), index.vectors(sorted(index.ids))


def test_without_parts_it_is_the_pool_of_the_verb_index(folder, tmp_path):
    summary = index_many(listed(folder), STEP, Crew(str(tmp_path / "many")))
    Pool.open(tmp_path / "one" / "pool").add(find_videos([folder]), MeanColours(), seconds=2.0)
    many, one = contents(tmp_path / "many"), contents(tmp_path / "one")
    assert many[0] == one[0]
    np.testing.assert_array_equal(many[1], one[1])
    assert Pool.open(tmp_path / "many" / "pool").videos == Pool.open(tmp_path / "one" / "pool").videos
    assert summary.copies == 1
    assert [Path(name).name for name in summary.problems] == ["zero.mp4"]


def test_a_long_video_is_shared_out_and_no_frame_of_it_lost_or_doubled(folder, tmp_path):
    (long,) = [video for video in listed(folder) if video.name == "long"]
    summary = index_many([long], STEP, Crew(str(tmp_path)), part_seconds=2.8)
    places = sorted((ClipPlace.of(name) for name in contents(tmp_path)[0]), key=lambda place: place.first)
    assert [(place.first, place.last) for place in places] == [(0, 19), (28, 47), (56, 75), (84, 99)]
    assert summary.clips == 4
    assert len(list((tmp_path / "parts" / "long").iterdir())) == 1 + 4  # the plan and its parts


def test_what_was_embedded_is_not_embedded_again(folder, tmp_path):
    videos, told = listed(folder), []
    index_many(videos[:3], STEP, Crew(str(tmp_path)))
    index_many(videos, STEP, Crew(str(tmp_path)), report=lambda done, *_: told.append(done))
    again = {done.unit.name for done in told if done.worked_s}
    assert again == {video.name for video in videos[3:]}
    with pytest.raises(ConfigError, match="part_seconds"):
        index_many(videos, STEP, Crew(str(tmp_path)), part_seconds=3.0)


def test_addresses_with_more_than_a_place_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no key or option") as told:
        index_many([ListedVideo("a", "s3://me:secret@bucket/a.mp4")], STEP, Crew(str(tmp_path)))
    assert "secret" not in str(told.value)


@pytest.mark.slow
def test_processes_make_the_same_pool(folder, tmp_path):
    index_many(listed(folder), STEP, Crew(str(tmp_path / "one")), part_seconds=2.8)
    index_many(listed(folder), STEP, Crew(str(tmp_path / "two"), workers=2), part_seconds=2.8)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.slow
def test_a_pool_of_and_in_an_object_store_can_be_searched(folder, s3, tmp_path):
    remote = []
    for video in listed(folder):
        remote.append(ListedVideo(video.name, f"s3://videos/pool/{video.name}.mp4"))
        with s3.open_output_stream(remote[-1].source.removeprefix("s3://")) as target:
            target.write(Path(video.source).read_bytes())
    here = index_many(listed(folder), STEP, Crew(str(tmp_path)), part_seconds=2.8)
    place = "s3://videos/index"
    index_many(remote[:2], STEP, Crew(place), part_seconds=2.8)
    summary = index_many(remote, STEP, Crew(place), part_seconds=2.8)  # brought up to date
    assert (summary.clips, summary.copies) == (here.clips, here.copies)
    (tmp_path / "back").mkdir()
    with s3.open_input_stream("videos/index/pool/pool.sqlite") as stored:
        (tmp_path / "back" / "pool.sqlite").write_bytes(stored.read())
    pool = Pool.open(tmp_path / "back")
    found = retrieve(folder / "green.mp4", pool, MeanColours(), shots=1)
    assert pool.missing() == []
    assert len(found) <= 1
