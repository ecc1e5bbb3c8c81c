import cv2
import numpy as np
import pytest
from PIL import Image
from small_pool import COLOURS, MeanColours, moving_square, write_video

from fewmask.errors import ConfigError, FewmaskError, VideoError
from fewmask.media.clip_place import ClipPlace
from fewmask.media.find_videos import find_videos
from fewmask.media.frames import Frame, open_frames
from fewmask.retrieval import clip_rows
from fewmask.retrieval.clips import FRAMES, SIDE, cut_clips
from fewmask.retrieval.contact_sheet import draw_contact_sheet
from fewmask.retrieval.embedded_video import embed_here
from fewmask.retrieval.index import ClipIndex
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


def test_given_supports_help_find_more(videos, tmp_path):
    for name, colour in {"reddish": (190, 60, 50), "bluish": (60, 70, 180), "greenish": (60, 160, 70)}.items():
        write_video(videos / f"{name}.mp4", moving_square(colour, 24, seed=len(name)))
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), MeanColours())

    def found(k, given=()):
        neighbours = retrieve(videos / "red.mp4", pool, MeanColours(), k, given=given).neighbours
        return [near.place.video.rsplit("/", 1)[1] for near in neighbours]

    assert found(1) == ["reddish.mp4"]
    assert set(found(2, [videos / "blue.mp4"])) == {"reddish.mp4", "bluish.mp4"}
    assert set(found(3, [videos / "blue.mp4", videos / "green.mp4"])) == {"reddish.mp4", "bluish.mp4", "greenish.mp4"}
    picture = tmp_path / "blue.png"
    Image.fromarray(next(iter(moving_square((60, 70, 180), 1)))).save(picture)
    assert set(found(2, [picture])) <= {"reddish.mp4", "bluish.mp4", "blue.mp4"}
    assert "blue.mp4" not in found(6, [videos / "blue.mp4"])


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
    numbers = ClipIndex.create(tmp_path / "numbers", 12, about={"embedder": "mean-colours"})
    numbers.add([3], np.ones((1, 12)))
    with pytest.raises(FewmaskError, match="names no clip"):
        Pool.open(tmp_path / "numbers").add(find_videos([videos]), MeanColours())


class Stopped(BaseException):
    """A run that dies."""


def test_a_run_that_dies_leaves_the_clips_and_the_record_of_a_video_or_neither(videos, tmp_path, monkeypatch):
    written = clip_rows.put_videos

    def dies(connection, records):
        written(connection, records)
        raise Stopped

    pool = Pool.open(tmp_path / "pool")
    with monkeypatch.context() as patched:
        patched.setattr(clip_rows, "put_videos", dies)
        with pytest.raises(Stopped):
            pool.add(find_videos([videos]), MeanColours())
    assert (len(Pool.open(tmp_path / "pool").index), Pool.open(tmp_path / "pool").videos) == (0, {})
    pool.add(find_videos([videos]), MeanColours())
    with monkeypatch.context() as patched:
        patched.setattr(clip_rows, "put_videos", dies)
        with pytest.raises(Stopped):
            pool.remove([videos / "red.mp4"])
    pool = Pool.open(tmp_path / "pool")
    assert names_in(pool) == ["blue.mp4", "green.mp4", "grey.mp4", "red.mp4"]
    assert len(pool.videos) == 4


def test_clips_whose_video_has_no_record_are_missing_when_it_is_gone(videos, tmp_path):
    """As pools of before could have them."""
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos]), MeanColours())
    with pool.index.writing() as connection:
        clip_rows.forget_videos(connection, list(pool.videos))
    assert pool.within([videos / "red.mp4"]) == [videos / "red.mp4"]
    (videos / "red.mp4").unlink()
    assert [path.name for path in pool.missing()] == ["red.mp4"]
    assert pool.remove(pool.missing()) == 1
    assert names_in(pool) == ["blue.mp4", "green.mp4", "grey.mp4"]


def test_processes_that_add_at_once_lose_nothing(videos, tmp_path):
    first, second = Pool.open(tmp_path / "pool"), Pool.open(tmp_path / "pool")
    names = sorted(videos.iterdir())

    def embedding(some):
        for path in some:
            second.add([names[names.index(path) + 2]], MeanColours())  # another one writes meanwhile
            yield from embed_here([path], MeanColours, 5.0)

    first.add(names[:2], MeanColours(), embed=embedding)
    assert names_in(first) == names_in(second) == [path.name for path in names]
    assert len(first.videos) == 4


def test_an_embedder_that_was_faster_is_kept_to(videos, tmp_path):
    first, second = Pool.open(tmp_path / "pool"), Pool.open(tmp_path / "pool")
    other = MeanColours()
    other.name = "other"
    first.add([videos / "red.mp4"], MeanColours())
    with pytest.raises(ConfigError, match="made with the embedder mean-colours, not other"):
        second.add([videos / "blue.mp4"], other)


def test_a_damaged_record_is_told(videos, tmp_path):
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([videos / "red.mp4"]), MeanColours())
    for record in ("{", "[1]", '{"size": 3}'):
        with pool.index.writing() as connection:
            clip_rows.put_videos(connection, {"x": record})
        with pytest.raises(FewmaskError, match="damaged"):
            _ = Pool.open(tmp_path / "pool").videos
