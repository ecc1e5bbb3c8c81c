"""Ids that turned out to be others: every reader of the frames sees one track."""

import numpy as np

from fewmask.exports.video_result import VideoResult
from fewmask.media import rle
from fewmask.media.final_tracks import FinalTracks
from fewmask.media.results import FrameResult, Track

MASK = rle.encode(np.ones((4, 4), dtype=bool))
TRACKS = FinalTracks((Track(1, 1, 0.9, ()), Track(2, 1, 0.5, ())), (7, 3), joined=((9, 7),))


def frames():
    """7 for three frames, 9 for two, 7 again; 3 beside it."""
    for index, name in enumerate((7, 7, 7, 9, 9, 7)):
        yield FrameResult(index, (4, 4), (name, 3), (1, 1), (0.9, 0.5), (MASK, None if index == 4 else MASK))


def test_the_later_id_is_shown_as_the_first():
    assert [TRACKS.named(frame).track_ids for frame in frames()] == [(7, 3)] * 6
    video = VideoResult.from_final(TRACKS, frames(), name="v", size=(4, 4), categories={1: "object"})
    assert [[mask is not None for mask in track.masks] for track in video.tracks] == [
        [True] * 6,
        [True] * 4 + [False, True],
    ]


def test_it_stays_so_when_stored_shown_or_numbered():
    stored = FinalTracks.from_json(TRACKS.as_json())
    assert stored == TRACKS
    for kept in (stored.shown(0.7), stored.numbered({7: 0, 3: 0})):
        assert kept.of(list(frames())[3]).track_ids[0] == 1
        assert kept.of(list(frames())[3]).masks[0] == MASK


def test_frames_without_such_ids_are_the_same_objects():
    frame = next(frames())
    assert TRACKS.named(frame) is frame
