import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewmask.errors import DatasetError
from fewmask.exports.video_result import VideoResult
from fewmask.media import rle
from fewmask.media.results import FrameResult, Track

SIZE = (6, 7)
MASK = rle.encode(np.eye(6, 7))


def frame(**changes):
    values = {
        "index": 3,
        "size": SIZE,
        "track_ids": (1, 2),
        "category_ids": (1, 1),
        "scores": (0.5, 0.25),
        "masks": (MASK, None),
    }
    return FrameResult(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": -1}, "negative"),
        ({"size": (0, 7)}, "size"),
        ({"scores": (0.5,)}, "2 track ids, 2 categories, 1 scores and 2 masks"),
        ({"track_ids": (2, 2)}, "track id 2 appears twice"),
        ({"scores": (0.5, float("nan"))}, "track 2: score nan is not finite"),
        ({"masks": (rle.empty(6, 8), None)}, "track 1: the mask is 6x8, the video 6x7"),
        ({"time_s": float("inf")}, "not finite"),
    ],
)
def test_frame_result_is_checked(changes, message):
    frame()
    with pytest.raises(DatasetError, match=f"^frame -?[0-9]+.*{message}"):
        frame(**changes)


def test_short_reprs():
    assert repr(frame()) == "FrameResult(frame 3, 6x7, tracks 1, (2))"
    assert repr(Track(4, 2, 0.75, (None, MASK, None))) == "Track(id 4, category 2, score 0.750, in 1 of 3 frames)"
    assert repr(video()) == "VideoResult('v', 3 frames of 6x7, 2 tracks)"


def test_a_frame_as_detections():
    found = frame().to_supervision({1: "cat"})
    assert found.tracker_id.tolist() == [1]
    assert found.data["class_name"].tolist() == ["cat"]
    assert frame().to_supervision().data["class_name"].tolist() == ["1"]


def test_rows_of_a_frame_keep_together():
    whole = frame(time_s=0.5)
    assert whole.rows([1, 0]) == frame(
        track_ids=(2, 1), scores=(0.25, 0.5), masks=(None, MASK), category_ids=(1, 1), time_s=0.5
    )
    assert whole.rows([]) == FrameResult(3, SIZE, (), (), (), (), 0.5)
    with pytest.raises(DatasetError, match="twice"):
        whole.rows([0, 0])
    with pytest.raises(IndexError):
        whole.rows([2])


def video(**changes):
    values = {
        "name": "v",
        "size": SIZE,
        "length": 3,
        "tracks": (Track(1, 1, 0.5, (MASK, None, MASK)), Track(4, 2, 0.75, (None, MASK, None))),
        "categories": {1: "cat", 2: "dog"},
    }
    return VideoResult(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 4}, "track 1: 3 masks for 4 frames"),
        ({"tracks": (Track(1, 1, 0.5, (None,) * 3),) * 2}, "track 1: the id is used by two"),
        ({"categories": {1: "cat"}}, "track 4: category 2 has no name"),
        ({"tracks": (Track(1, 1, float("inf"), (None,) * 3),)}, "score inf"),
        ({"tracks": (Track(1, 1, 0.5, (rle.empty(7, 6), None, None)),)}, "track 1, frame 0: the mask is 7x6"),
        ({"fps": 0.0}, "fps 0.0"),
        ({"file_names": ("a",)}, "1 file names for 3 frames"),
        ({"annotated_frames": (0, 2)}, "track 4: a mask in frame 1, which is not an annotated frame"),
        ({"annotated_frames": (2, 1, 0)}, "ascend"),
        ({"annotated_frames": (0, 1, 2, 3)}, r"0\.\.2"),
    ],
)
def test_video_result_is_checked(changes, message):
    video()
    with pytest.raises(DatasetError, match=f"^v.*{message}"):
        video(**changes)


def test_frames_list_every_track():
    frames = list(video(fps=10.0).frames())
    assert [one.index for one in frames] == [0, 1, 2]
    assert [one.time_s for one in frames] == [0.0, 0.1, 0.2]
    assert frames[1] == FrameResult(1, SIZE, (1, 4), (1, 2), (0.5, 0.75), (None, MASK), 0.1)
    known = video(annotated_frames=(0, 1), tracks=(Track(1, 1, 0.5, (MASK, None, None)),))
    assert [one.index for one in known.frames()] == [0, 1]


def test_from_frames_scores_and_classes():
    frames = [
        frame(index=0, track_ids=(7,), category_ids=(1,), scores=(0.9,), masks=(MASK,)),
        frame(index=1, track_ids=(7, 2), category_ids=(2, 1), scores=(0.5, 0.1), masks=(MASK, None)),
        frame(index=2, track_ids=(7,), category_ids=(2,), scores=(0.1,), masks=(None,)),
    ]
    result = VideoResult.from_frames(frames, name="v", size=SIZE, categories={1: "cat", 2: "dog"})
    assert result.length == 3
    assert result.annotated_frames is None
    assert result.tracks == (
        Track(2, 1, 0.1, (None, None, None)),
        Track(7, 1, pytest.approx(0.7), (MASK, MASK, None)),
    )


def test_from_frames_with_gaps():
    frames = [frame(index=1), frame(index=4)]
    result = VideoResult.from_frames(frames, name="v", size=SIZE, categories={1: "cat"}, length=6)
    assert result.annotated_frames == (1, 4)
    assert result.tracks[0].masks == (None, MASK, None, None, MASK, None)
    with pytest.raises(DatasetError, match="frame 4 lies beyond the video's 4 frames"):
        VideoResult.from_frames(frames, name="v", size=SIZE, categories={1: "cat"}, length=4)
    with pytest.raises(DatasetError, match="frame 1 came after frame 4"):
        VideoResult.from_frames(frames[::-1], name="v", size=SIZE, categories={1: "cat"})


@given(st.data())
def test_frames_and_back(data):
    length = data.draw(st.integers(1, 5))
    masks = st.lists(st.sampled_from([None, MASK]), min_size=length, max_size=length).map(tuple)
    scores = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    ids = data.draw(st.lists(st.integers(0, 99), unique=True, max_size=4).map(sorted))
    tracks = tuple(Track(i, 1, data.draw(scores), data.draw(masks)) for i in ids)
    result = VideoResult("v", SIZE, length, tracks, {1: "cat"})
    again = VideoResult.from_frames(result.frames(), name="v", size=SIZE, categories={1: "cat"}, length=length)
    assert again == result
