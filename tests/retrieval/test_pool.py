import json

import cv2
import numpy as np
import pytest
from PIL import Image
from small_pool import COLOURS, MeanColours, moving_square, write_video

from fewmask.errors import ConfigError, FewmaskError, VideoError
from fewmask.media.clip_place import ClipPlace
from fewmask.media.find_videos import find_videos
from fewmask.media.frames import Frame, open_frames
from fewmask.retrieval.clips import FRAMES, SIDE, cut_clips
from fewmask.retrieval.contact_sheet import draw_contact_sheet
from fewmask.retrieval.index import ClipIndex
from fewmask.retrieval.looks import look_of, same_clip
from fewmask.retrieval.pool import Pool
from fewmask.retrieval.retrieve import query_clips, retrieve
from fewmask.retrieval.shots import CutDetector


def test_cuts_are_found_where_they_are_and_motion_is_none():
    frames = [
        *moving_square(COLOURS["red"], 20, speed=3),
        *moving_square(COLOURS["blue"], 15, seed=1, speed=6),
        *moving_square(COLOURS["green"], 12, seed=2),
    ]
    detector = CutDetector()
    assert [index for index, frame in enumerate(frames) if detector.starts_shot(frame)] == [0, 20, 35]


def clips_of(lengths, fps=10.0, seconds=2.0):
    frames = []
    for shot, length in enumerate(lengths):
        frames += moving_square(list(COLOURS.values())[shot % 4], length, seed=shot)
    source = (Frame(index, index / 10, frame) for index, frame in enumerate(frames))
    return [(clip.first, clip.last, clip.pictures.shape) for clip in cut_clips(source, fps, seconds=seconds)]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([30], [(0, 19), (20, 29)]),
        ([25], [(0, 19)]),  # a rest below half a clip is left out
        ([12, 40], [(0, 11), (12, 31), (32, 51)]),
        ([12, 3, 12], [(0, 11), (15, 26)]),  # too short to be a clip
        ([2], [(0, 1)]),  # unless there is nothing else
        ([3, 2], [(0, 2)]),
        ([], []),
    ],
)
def test_clips_stay_within_shots_and_below_the_longest(lengths, expected):
    found = clips_of(lengths)
    assert [(first, last) for first, last, _ in found] == expected
    assert all(shape == (FRAMES, SIDE, SIDE, 3) for *_, shape in found)


def test_the_pictures_of_a_clip_are_evenly_spaced_however_long_it_is():
    frames = (Frame(index, 0.0, np.full((16, 16, 3), index // 2, np.uint8)) for index in range(500))
    (clip,) = cut_clips(frames, 25.0, seconds=20)
    assert clip.pictures[:, 0, 0, 0].tolist() == pytest.approx([0, 62, 125, 187, 249], abs=5)
    assert (clip.first, clip.last) == (0, 499)


def test_a_copy_at_half_the_size_is_known_again_and_another_moment_is_not():
    frames = list(moving_square(COLOURS["red"], 40, speed=2))
    first, second = frames[:20], frames[20:]

    def look(part, scale=1.0):
        small = [cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for frame in part]
        (clip,) = cut_clips((Frame(i, 0.0, frame) for i, frame in enumerate(small)), 10.0)
        return look_of(clip.pictures)

    assert same_clip(look(first), [look(first, 0.5), look(second)]).tolist() == [True, False]
    assert same_clip(look(first), []).tolist() == []


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for seed, (name, colour) in enumerate(COLOURS.items()):
        write_video(folder / f"{name}.mp4", moving_square(colour, 24, seed=seed))
    return folder


def test_indexing_skips_what_is_broken_lists_it_and_leaves_copies_out(videos, tmp_path):
    (videos / "empty.mp4").touch()
    (videos / "torn.mp4").write_bytes((videos / "red.mp4").read_bytes()[:200])
    half = [cv2.resize(frame.rgb, (64, 36), interpolation=cv2.INTER_AREA) for frame in open_frames(videos / "red.mp4")]
    write_video(videos / "small_red.mp4", half, size=(36, 64))
    pool = Pool.open(tmp_path / "pool")
    seen = []
    pool.add(find_videos([videos]), MeanColours(), report=lambda progress: seen.append(progress.done))
    again = Pool.open(tmp_path / "pool")
    assert seen == list(range(1, 8))
    assert len(again.index) == 4
    assert {ClipPlace.of(clip_id).video.rsplit("/", 1)[1] for clip_id in again.index.ids} == {
        f"{name}.mp4" for name in COLOURS
    }
    records = {name.rsplit("/", 1)[1]: record for name, record in again.videos.items()}
    assert "empty" in records["empty.mp4"].problem
    assert records["torn.mp4"].problem
    assert records["small_red.mp4"].copies == 1
    assert records["red.mp4"].problem is None


def test_a_second_run_embeds_only_what_is_new_or_changed(videos, tmp_path):
    embedder = MeanColours()
    Pool.open(tmp_path / "pool").add(find_videos([videos]), embedder)
    assert embedder.calls == 4
    write_video(videos / "new.mp4", moving_square((250, 220, 10), 24, seed=9))
    write_video(videos / "red.mp4", moving_square((10, 220, 220), 90, seed=8))  # now one clip of 50 frames, one of 40
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), embedder)
    assert embedder.calls == 7
    places = [ClipPlace.of(clip_id) for clip_id in pool.index.ids]
    assert sorted(place.frames for place in places if place.video.endswith("red.mp4")) == ["0-49", "50-89"]
    assert len(places) == 6
    pool.add(find_videos([videos]), embedder)
    assert embedder.calls == 7


def test_a_run_killed_between_vectors_and_list_is_made_good_by_the_next(videos, tmp_path, monkeypatch):
    pool = Pool.open(tmp_path / "pool")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pool, "_write_videos", killed)
    with pytest.raises(KeyboardInterrupt):
        pool.add(find_videos([videos]), MeanColours())
    monkeypatch.undo()
    pool = Pool.open(tmp_path / "pool")
    assert (len(pool.index), len(pool.videos)) == (4, 0)
    pool.add(find_videos([videos]), MeanColours())
    assert (len(pool.index), len(pool.videos)) == (4, 4)
    assert all(record.copies == 0 for record in pool.videos.values())


def test_videos_that_are_removed_or_gone_leave_with_their_clips(videos, tmp_path):
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), MeanColours())
    assert pool.remove([videos / "red.mp4", videos / "never.mp4"]) == 1
    (videos / "blue.mp4").unlink()
    assert [path.name for path in pool.missing()] == ["blue.mp4"]
    assert pool.remove(pool.missing()) == 1
    assert sorted(ClipPlace.of(clip_id).video[-9:] for clip_id in Pool.open(tmp_path / "pool").index.ids) == [
        "/grey.mp4",
        "green.mp4",
    ]


def names_in(pool):
    return sorted(ClipPlace.of(clip_id).video.rsplit("/", 1)[1] for clip_id in Pool.open(pool.index.folder).index.ids)


def test_videos_that_swap_names_stay_in_the_pool(videos, tmp_path):
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), MeanColours())
    (videos / "red.mp4").rename(videos / "held.mp4")
    (videos / "blue.mp4").rename(videos / "red.mp4")
    (videos / "held.mp4").rename(videos / "blue.mp4")
    pool.add(find_videos([videos]), MeanColours())
    assert names_in(pool) == ["blue.mp4", "green.mp4", "grey.mp4", "red.mp4"]


def test_a_copy_is_taken_up_when_what_it_copies_leaves(videos, tmp_path):
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), MeanColours())
    (videos / "renamed.mp4").write_bytes((videos / "red.mp4").read_bytes())
    (videos / "again.mp4").write_bytes((videos / "blue.mp4").read_bytes())
    pool.add(find_videos([videos]), MeanColours())
    assert names_in(pool) == ["blue.mp4", "green.mp4", "grey.mp4", "red.mp4"]
    (videos / "red.mp4").unlink()
    pool.remove(pool.missing())
    write_video(videos / "blue.mp4", moving_square((250, 220, 10), 24, seed=9))  # and this one shows something else now
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), MeanColours())
    assert names_in(pool) == ["again.mp4", "blue.mp4", "green.mp4", "grey.mp4", "renamed.mp4"]


def test_clips_without_a_record_are_missing_when_their_video_is(videos, tmp_path, monkeypatch):
    pool = Pool.open(tmp_path / "pool")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Pool, "_write_videos", killed)
        with pytest.raises(KeyboardInterrupt):
            pool.add(find_videos([videos]), MeanColours())
    (videos / "red.mp4").unlink()
    pool = Pool.open(tmp_path / "pool")
    assert [path.name for path in pool.missing()] == ["red.mp4"]
    assert pool.remove(pool.missing()) == 1
    assert "red.mp4" not in names_in(pool)


def test_a_removal_killed_between_list_and_vectors_is_made_good_by_the_next_run(videos, tmp_path, monkeypatch):
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), MeanColours())

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ClipIndex, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            pool.remove([videos / "red.mp4"])
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), MeanColours())
    assert names_in(pool) == ["blue.mp4", "green.mp4", "grey.mp4", "red.mp4"]
    assert len(pool.videos) == 4


def test_retrieval_leaves_the_query_and_its_copies_out(videos, tmp_path):
    write_video(videos / "reddish.mp4", moving_square((190, 60, 50), 24, seed=7))
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), MeanColours())
    found = retrieve(videos / "red.mp4", pool, MeanColours(), 2)
    assert found.neighbours[0].place.video.endswith("/reddish.mp4")
    assert all(not neighbour.place.video.endswith("/red.mp4") for neighbour in found.neighbours)
    copy = write_video(tmp_path / "copy.mp4", [frame.rgb for frame in open_frames(videos / "red.mp4")])
    found = retrieve(copy, pool, MeanColours(), 10)
    assert [name.rsplit("/", 1)[1] for name in found.copies] == ["red.mp4"]
    assert len(found.neighbours) == 4
    sheet = tmp_path / "sheet.png"
    query, rows = ClipPlace(str(copy), 0, 23), [(near.place.title, near.place) for near in found.neighbours]
    draw_contact_sheet(query, rows, sheet)
    with Image.open(sheet) as picture:
        array = np.asarray(picture.convert("RGB")).astype(int)
    row = array.shape[0] // 5
    # The query's row shows its red, the best neighbour's its own, and every row has five frames.
    assert np.abs(array[60, 150] - COLOURS["red"]).max() < 70
    assert np.abs(array[row + 60, 150] - (190, 60, 50)).max() < 70
    assert (array[: 5 * row].reshape(5, row, *array.shape[1:])[:, 80].std((1, 2)) > 10).all()
    with pytest.raises(FewmaskError, match="png"):
        draw_contact_sheet(query, rows, tmp_path / "sheet.strange")


def test_a_long_query_is_searched_by_clips_from_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("fewmask.retrieval.retrieve._MOST_QUERY_CLIPS", 4)
    video = write_video(tmp_path / "long.mp4", moving_square(COLOURS["red"], 1000))  # 20 clips of 50 frames
    firsts = [clip.first for clip in query_clips(video)]
    assert len(firsts) == 4
    assert firsts[0] == 0
    assert firsts[-1] >= 800
    assert max(np.diff(firsts)) <= 400


def test_no_more_clips_than_asked_from_one_video(videos, tmp_path):
    write_video(videos / "long.mp4", moving_square((150, 90, 90), 150, seed=5, speed=0.7))
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), MeanColours())
    for per_video, expected in [(1, 1), (3, 3)]:
        found = retrieve(videos / "red.mp4", pool, MeanColours(), 7, per_video=per_video)
        assert sum(neighbour.place.video.endswith("long.mp4") for neighbour in found.neighbours) == expected


def test_another_embedder_and_a_pool_of_something_else_are_refused(videos, tmp_path):
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos / "red.mp4"]), MeanColours())
    other = MeanColours()
    other.name = "other"
    with pytest.raises(ConfigError, match="made with the embedder mean-colours, not other"):
        pool.add(find_videos([videos]), other)
    with pytest.raises(ConfigError, match="mean-colours"):
        retrieve(videos / "red.mp4", pool, other, 3)
    with pytest.raises(VideoError, match="no such file"):
        find_videos([tmp_path / "nowhere.mp4"])
    (tmp_path / "pool" / "videos.json").write_text("{")
    with pytest.raises(FewmaskError, match="damaged"):
        Pool.open(tmp_path / "pool")
    numbers = ClipIndex.create(tmp_path / "numbers", 12, about={"embedder": "mean-colours"})
    numbers.add([3], np.ones((1, 12)))
    with pytest.raises(FewmaskError, match="names no clip"):
        Pool.open(tmp_path / "numbers").add(find_videos([videos]), MeanColours())


def test_the_list_of_videos_is_plain_json(videos, tmp_path):
    Pool.open(tmp_path / "pool").add(find_videos([videos / "red.mp4"]), MeanColours())
    (record,) = json.loads((tmp_path / "pool" / "videos.json").read_text()).values()
    assert list(record["looks"]) == ["0-23"]
    assert record["size"] == (videos / "red.mp4").stat().st_size
