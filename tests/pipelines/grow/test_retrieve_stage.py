"""Which videos are searched: those of mined tracks that look like the kind, and those of clips, in turn."""

import numpy as np

from fewmask.media.clip_place import ClipPlace
from fewmask.pipelines.grow.kinds import Kind
from fewmask.pipelines.grow.retrieve_stage import videos_alike, videos_for

SOURCES = {name: f"/pool/{name}.mp4" for name in "abcde"}


def places(*names):
    return [(ClipPlace(SOURCES[name], 0, 5), 0.5) for name in names]


def test_a_video_counts_by_the_track_most_like_the_kind():
    kind = Kind("dog", (), np.eye(3, dtype=np.float32)[:2])
    vectors = np.array([[0, 0, 1], [0.6, 0, 0.8], [0, 1, 0]], np.float32)
    assert videos_alike(kind, ["a", "b", "a"], vectors) == ["a", "b"]
    assert videos_alike(kind, ["a", "b", "c"], vectors) == ["c", "b", "a"]
    assert videos_alike(kind, [], np.zeros((0, 3), np.float32)) == []


def test_tracks_and_clips_choose_in_turn_as_many_as_there_are_clips_of():
    assert videos_for(places("a", "b", "c"), SOURCES, []) == ["a", "b", "c"]
    assert videos_for(places("a", "b", "c"), SOURCES, [], ["e", "d"]) == ["a", "d", "e"]
    assert videos_for(places("a", "a"), SOURCES, [], ["a", "e"]) == ["a"]
    assert videos_for(places("a", "b"), SOURCES, [], ["a", "b", "c", "d"]) == ["a", "b"]
    assert videos_for(places("a", "b"), SOURCES, ["d#1, frame 0", "shown.jpg"], ["e"]) == ["a", "d", "e"]
