"""What flickers up beside a long, sure track is listed but not shown."""

import numpy as np

from fewmask.media import rle
from fewmask.media.final_ids import first_frames
from fewmask.media.final_tracks import FinalTracks
from fewmask.media.results import FrameResult

MASK = rle.encode(np.ones((4, 4), dtype=bool))


def frames():
    """100 frames: 7 (class 1) in all of them; 3 (class 1) in two, surer; 5 (class 2), alone in its class, in one."""
    for index in range(100):
        rows = [(7, 1, 0.2), *([(3, 1, 0.9)] if index in (40, 41) else []), *([(5, 2, 0.2)] if index == 50 else [])]
        ids, classes, scores = zip(*rows, strict=True)
        yield FrameResult(index, (4, 4), ids, classes, scores, (MASK,) * len(rows))


def test_flickers_are_listed_but_not_shown():
    tracks = FinalTracks.gathered(frames())
    assert [track.track_id for track in tracks.tracks] == [7, 3, 5]
    assert [track.track_id for track in tracks.shown(0.0).tracks] == [7, 3, 5]
    assert [track.track_id for track in tracks.shown(0.0, 0.1).tracks] == [7, 5]  # 1.8 of 20; 0.2 of its own 0.2
    assert [track.track_id for track in tracks.shown(0.0, 0.08).tracks] == [7, 3, 5]
    assert [track.track_id for track in tracks.shown(0.5, 0.0).tracks] == [3]


def test_ids_count_among_the_shown_first():
    tracks = FinalTracks.gathered(frames())
    numbered = tracks.numbered(first_frames(frames()), 0.0, min_share=0.1)
    assert dict(zip(numbered.rows, (track.track_id for track in numbered.tracks), strict=True)) == {7: 1, 5: 2, 3: 3}
