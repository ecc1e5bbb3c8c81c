"""Mined tracks: every picture is read and looked at once, and every track gets its own views of it."""

import numpy as np
import pytest
from PIL import Image
from small_found import COLOURS, SIZE, square

from fewmask.media import rle
from fewmask.mining.mined_dataset import file_name
from fewmask.mining.mined_video import MinedMask, MinedVideo
from fewmask.pipelines.grow import group_stage
from fewmask.pipelines.grow.group_stage import group_tracks, read_groups
from fewmask.pipelines.grow.track_looks import VIEWS, TrackLooks
from fewmask.pipelines.grow.track_views import mined_tracks, object_picture

FRAMES, TRACKS = 4, 3


class MeanColour:
    """A clip's mean colour, as a unit vector."""

    name = "colour"
    dimension = 3

    def embed(self, clips):
        means = clips.reshape(len(clips), -1, 3).mean(1).astype(np.float32) + 1
        return means / np.linalg.norm(means, axis=1, keepdims=True)


class CountingLooks(TrackLooks):
    """Notes how many masks it was shown with each picture."""

    def __init__(self):
        super().__init__([MeanColour()])
        self.shown = []

    def objects(self, rgb, masks):
        self.shown.append(len(masks))
        return super().objects(rgb, masks)


@pytest.fixture
def mined(tmp_path, monkeypatch):
    """A mined video of three squares in four frames, with its pictures."""
    frames = []
    for frame in range(FRAMES):
        rgb = np.full((*SIZE, 3), 90, np.uint8)
        for track in range(TRACKS):
            rgb[square(frame, track)] = COLOURS[track]
        path = tmp_path / "images" / file_name("walk", frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(path, format="PNG")
        frames.append(
            tuple(MinedMask(t + 1, rle.encode(square(frame, t)), 0.9, 0.9, 0.9 - 0.1 * t, 0, None)
                  for t in range(TRACKS))
        )  # fmt: skip
    video = MinedVideo(
        "walk", "walk.mp4", SIZE, 10.0, tuple(frames), 0.0, proposals=12, pairs_evaluated=0, pairs=0, note=None
    )
    monkeypatch.setattr(group_stage, "in_order", lambda _: [video])
    return tmp_path, video


def test_every_picture_is_looked_at_once_and_the_tracks_are_as_one_by_one(mined, tmp_path):
    dataset, video = mined
    looks = CountingLooks()
    group_tracks(tmp_path / "groups", dataset, [], 1, looks)
    assert looks.shown == [TRACKS] * FRAMES
    found = read_groups(tmp_path / "groups")
    tracks = mined_tracks(video, 1, views=VIEWS)
    assert list(found.tracks) == tracks
    for track, vector in zip(tracks, found.vectors, strict=True):
        alone = []
        for view in track.views:
            rgb = np.asarray(Image.open(dataset / "images" / file_name("walk", view.frame)))
            alone += TrackLooks([MeanColour()]).objects(rgb, [view.mask])
            np.testing.assert_array_equal(alone[-1].picture, object_picture(rgb, view.mask))
        np.testing.assert_array_equal(TrackLooks([MeanColour()]).embed([alone])[0], vector)


def test_a_picture_that_is_gone_costs_the_tracks_that_need_it(mined, tmp_path):
    dataset, video = mined
    (dataset / "images" / file_name("walk", 2)).unlink()
    group_tracks(tmp_path / "groups", dataset, [], 1, CountingLooks())
    needed = [track.track for track in mined_tracks(video, 1, views=VIEWS) if 2 in {v.frame for v in track.views}]
    assert needed == [1, 2, 3]
    assert read_groups(tmp_path / "groups").tracks == ()
