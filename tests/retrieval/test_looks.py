import cv2
import numpy as np
import pytest
from small_pool import COLOURS, MeanColours, moving_square, write_video

from fewmask.media.clip_place import ClipPlace
from fewmask.media.find_videos import find_videos
from fewmask.media.frames import Frame, open_frames
from fewmask.pipelines.segment import demo_clip
from fewmask.retrieval.clips import cut_clips
from fewmask.retrieval.looks import kept_looks, look_of, looks_of_place, same_footage
from fewmask.retrieval.pool import Pool
from fewmask.retrieval.retrieve import retrieve


def looks_of(pictures):
    return np.stack([look_of(rgb) for rgb in pictures])


def seen_again(pictures, scale=0.5, quality=30):
    """Smaller, and through JPEG."""
    for rgb in pictures:
        small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        yield cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


@pytest.fixture(scope="module")
def pictures():
    return list(moving_square(COLOURS["red"], 130, size=(144, 256), speed=2))


def shot(name, count=130):
    return list(moving_square(COLOURS[name], count, size=(144, 256), seed=len(name), speed=2))


@pytest.mark.parametrize(("first", "stop"), [(0, 130), (0, 60), (70, 130), (35, 95), (20, 60), (50, 81), (0, 24)])
def test_a_piece_is_known_as_a_copy_of_the_whole(pictures, first, stop):
    piece = looks_of(seen_again(pictures[first:stop]))
    assert same_footage(piece, kept_looks(looks_of(pictures)))
    assert same_footage(looks_of(pictures), kept_looks(piece))


def test_a_copy_that_begins_before_and_ends_in_the_middle_is_known(pictures):
    mixed = looks_of([*shot("blue", 60), *seen_again(pictures[:60], scale=1)])
    assert same_footage(mixed, kept_looks(looks_of(pictures)))


def test_a_copy_with_half_the_frames_is_known(pictures):
    assert same_footage(looks_of(pictures[::2]), kept_looks(looks_of(pictures)))


def test_other_footage_is_none(pictures):
    kept = kept_looks(looks_of(pictures))
    assert not same_footage(looks_of(shot("blue")), kept)
    assert not same_footage(looks_of(shot("green")), kept)
    # One picture that happens to be the same, and a moment from the middle among others.
    other = shot("blue")
    assert not same_footage(looks_of([*other[:60], pictures[50], *other[60:]]), kept)
    assert not same_footage(looks_of([*other[:60], *pictures[50:62], *other[60:120]]), kept)


def test_where_the_object_is_somewhere_else_it_is_no_copy(pictures):
    later = list(moving_square(COLOURS["red"], 60, size=(144, 256), speed=0))
    assert not same_footage(looks_of(later), kept_looks(looks_of(pictures[40:100])))


def test_blank_pictures_are_all_the_same():
    black, grey = np.zeros((30, 144), np.uint8), np.full((30, 144), 90, np.uint8)
    assert same_footage(black, kept_looks(grey))


def test_kept_looks_of_a_long_clip_are_few():
    kept = kept_looks(np.arange(5000, dtype=np.int64).repeat(144).reshape(5000, 144).astype(np.uint8))
    assert kept.shape == (64, 144)


def test_a_clip_carries_the_looks_of_its_frames(pictures):
    (clip,) = cut_clips((Frame(i, 0.0, rgb) for i, rgb in enumerate(pictures[:40])), 25.0)
    assert np.array_equal(clip.looks, looks_of(pictures[:40]))


def test_a_piece_of_the_bundled_clip_does_not_support_itself(tmp_path):
    frames = [frame.rgb for frame in open_frames(demo_clip())]
    pool_videos = tmp_path / "pool-videos"
    pool_videos.mkdir()
    write_video(pool_videos / "whole.mp4", frames, size=frames[0].shape[:2])
    for name in ("blue", "green"):
        write_video(pool_videos / f"{name}.mp4", shot(name, 30), size=(144, 256))
    pool = Pool.open(tmp_path / "pool")
    pool.add(find_videos([pool_videos]), MeanColours())
    small = [cv2.resize(rgb, (320, 192), interpolation=cv2.INTER_AREA) for rgb in frames[20:60]]
    piece = write_video(tmp_path / "piece.mp4", small, size=(192, 320))
    found = retrieve(piece, pool, MeanColours(), 2)
    assert [name.rsplit("/", 1)[1] for name in found.copies] == ["whole.mp4"]
    assert sorted(near.place.video.rsplit("/", 1)[1] for near in found.neighbours) == ["blue.mp4", "green.mp4"]
    pool.add([piece], MeanColours())  # and the pool does not take it in
    assert pool.videos[str(piece)].copied == [str(pool_videos / "whole.mp4")]


def test_looks_that_a_pool_of_before_lacks_are_read_from_its_videos(tmp_path):
    video = write_video(tmp_path / "red.mp4", moving_square(COLOURS["red"], 24))
    pool = Pool.open(tmp_path / "pool")
    pool.add([video], MeanColours())
    place = ClipPlace.of(pool.index.ids[0])
    gone = ClipPlace(str(tmp_path / "gone.mp4"), 0, 9)
    pool.index.add([place.id, gone.id], np.eye(2, 12))  # as they come from such a pool: without looks
    (copy,) = cut_clips(open_frames(video), 10.0)
    for _ in range(2):
        looks = pool.looks([place, gone])
        assert looks[gone] is None
        assert same_footage(copy.looks, looks[place])
    video.unlink()
    assert looks_of_place(place) is None
    assert np.array_equal(Pool.open(tmp_path / "pool").looks([place])[place], looks[place])
