"""MinVIS over a frame source: ids, exact and bounded mode, ranking, errors of the source."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from moving_squares import SIZE, SquareSegmenter, picture, square_boxes, write_video

from fewmask.errors import ConfigError, VideoError
from fewmask.media import rle
from fewmask.media.frames import Frame
from fewmask.minvis.link import link_video
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings, resolve
from fewmask.minvis.track_stream import best_of, kept_slots
from fewmask.minvis.tracker import QueryTracker, class_probability


class Pictures:
    """Frames from memory as a FrameSource, with an error at the end if wanted."""

    name, fps, is_live, file_names, estimated_length = "pictures", 10.0, False, None, None
    size = SIZE

    def __init__(self, length, *, error=None, live=False):
        self.length, self._count, self._error, self.is_live = length, length, error, live
        self.broken = []

    def __iter__(self):
        for t in range(self._count):
            yield Frame(t, t / 10, picture(t))
        if self._error is not None:
            raise self._error


@pytest.fixture
def model():
    return MinVIS(SquareSegmenter())


def test_every_square_keeps_one_id_and_its_pixels(model):
    video = model.segment(Pictures(40))
    assert video.length == 40
    best = sorted(video.tracks, key=lambda track: -track.score)[:3]
    for t in range(40):
        for track, box in zip(best, square_boxes(t), strict=True):
            mask = track.masks[t]
            if box is None:
                assert mask is None
            else:
                top, left, side = box
                truth = np.zeros(SIZE, dtype=bool)
                truth[top : top + side, left : left + side] = True
                assert rle.iou_matrix([mask], [rle.encode(truth)])[0, 0] > 0.5  # logits are at a quarter of the size
    assert {track.category_id for track in best} == {1}
    assert video.categories == {1: "warm", 2: "cold"}


@pytest.mark.parametrize("mode", ["exact", "bounded"])
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_equals_the_official_procedure_whatever_the_batch(model, mode, batch):
    frames = np.stack([picture(t) for t in range(13)])
    output = model.segmenter(frames)
    expected = link_video(
        output.class_queries_logits, output.masks_queries_logits, output.query_embeddings,
        padded_size=SIZE, image_size=SIZE, output_size=SIZE,
    )  # fmt: skip
    video = model.segment(Pictures(13), StreamSettings(mode=mode, batch=batch))
    assert [track.score for track in video.tracks] == pytest.approx(expected.scores.tolist(), abs=1e-12)
    assert [track.category_id - 1 for track in video.tracks] == expected.labels.tolist()
    for track, masks in zip(video.tracks, expected.masks, strict=True):
        for mask, bitmap in zip(track.masks, masks, strict=True):
            found = np.zeros(SIZE, dtype=bool) if mask is None else rle.decode(mask)
            np.testing.assert_array_equal(found, bitmap)


def test_one_slot_with_two_classes_gives_two_tracks_with_their_own_ids(model):
    video = model.segment(Pictures(4), StreamSettings(top_k=16))
    ids = [track.track_id for track in video.tracks]
    assert len(ids) == 16
    assert len(set(ids)) == 16
    assert sorted(ids) == list(range(1, 17))


def test_bounded_mode_keeps_the_stated_slots_only():
    tracker = QueryTracker()
    random = np.random.default_rng(0)
    logits = random.standard_normal((60, 2)).astype(np.float32)
    order = tracker.step(logits, random.standard_normal((60, 4)).astype(np.float32))
    own = class_probability(logits[order])
    own[np.argsort(logits[:, 0] - logits[:, 1])[:2]] = 1.0  # the two worst by mean are the best right now
    kept = kept_slots(tracker, own, StreamSettings(top_k=5, mode="bounded", batch=1))
    ranked = np.argsort(logits[:, 1] - logits[:, 0], kind="stable")
    assert kept[:15].tolist() == ranked[:15].tolist()
    assert set(ranked[-2:]) <= set(kept.tolist())
    assert len(kept) <= 20
    assert len(kept_slots(tracker, own, StreamSettings(top_k=5, mode="exact", batch=1))) == 60


def test_stream_yields_the_best_tracks_with_ids_that_last(model):
    results = list(model.stream(Pictures(20), StreamSettings(top_k=3)))
    assert [result.index for result in results] == list(range(20))
    appeared = []
    for result in results:
        assert len(result.track_ids) <= 3
        appeared += [track_id for track_id in result.track_ids if track_id not in appeared]
    assert sorted(appeared) == list(range(1, len(appeared) + 1))
    assert len({frozenset(result.track_ids) for result in results[8:]}) == 1
    assert len(results[-1].track_ids) == 3


def test_frames_before_an_error_come_first(model):
    seen = []
    stream = model.stream(Pictures(10, error=VideoError("frame 10 is broken")), StreamSettings(batch=4))
    with pytest.raises(VideoError, match="frame 10 is broken"):
        seen.extend(result.index for result in stream)
    assert seen == list(range(10))


def test_a_stream_left_early_stops_its_threads(model):
    import threading

    before = threading.active_count()
    stream = model.stream(Pictures(1000), StreamSettings(batch=2))
    next(stream)
    stream.close()
    assert threading.active_count() == before
    assert model.segmenter.frames_seen < 50


def test_a_live_source_is_streamed_one_frame_at_a_time_and_has_no_end(model):
    with pytest.raises(VideoError, match="live"):
        model.segment(Pictures(5, live=True))
    assert len(list(model.stream(Pictures(5, live=True)))) == 5


def test_a_video_file_as_source(model, tmp_path):
    path = write_video(tmp_path / "squares.mp4", 9)
    video = model.segment(path)
    assert (video.name, video.length, video.fps) == ("squares", 9, 10.0)
    assert sum(mask is not None for mask in video.tracks[0].masks) == 9


def test_impossible_settings_are_refused(model):
    with pytest.raises(ConfigError, match="top-k"):
        model.segment(Pictures(2), StreamSettings(top_k=0))


def test_tracker_state_goes_on_bit_equal():
    random = np.random.default_rng(3)
    frames = [(random.standard_normal((7, 3)).astype(np.float32), random.standard_normal((7, 5)).astype(np.float32))
              for _ in range(9)]  # fmt: skip
    straight, stopped = QueryTracker(), QueryTracker()
    for logits, embeddings in frames:
        straight.step(logits, torch.from_numpy(embeddings))
    for t, (logits, embeddings) in enumerate(frames):
        if t == 4:
            stopped = QueryTracker.from_state(stopped.state())
        stopped.step(logits, embeddings)
    np.testing.assert_array_equal(straight.video_logits, stopped.video_logits)
    assert straight.state() == stopped.state()
    assert QueryTracker.from_state(QueryTracker().state()).frames == 0


class SureOfNothing(SquareSegmenter):
    """A single class, and one more query (slot 8), which is surest of it and has no mask."""

    categories = {0: "object"}  # noqa: RUF012

    def __call__(self, frames, **options):
        output = super().__call__(frames, **options)
        one_class = output.class_queries_logits[..., [0, 2]]
        sure = torch.tensor([20.0, 0.0]).expand(len(frames), 1, 2)
        own = torch.full((len(frames), 1, 16), 9.0)
        empty = torch.full_like(output.masks_queries_logits[:, :1], -5.0)
        return replace(
            output,
            class_queries_logits=torch.cat((one_class, sure), 1),
            masks_queries_logits=torch.cat((output.masks_queries_logits, empty), 1),
            query_embeddings=torch.cat((output.query_embeddings, own), 1),
        )


@pytest.mark.parametrize("mode", ["exact", "bounded"])
def test_mask_quality_puts_empty_tracks_last_and_the_paper_does_not(mode):
    model = MinVIS(SureOfNothing())
    by_paper = model.segment(Pictures(6), StreamSettings(top_k=9, mode=mode, ranking="paper")).tracks
    by_quality = model.segment(Pictures(6), StreamSettings(top_k=9, mode=mode)).tracks
    assert not any(by_paper[0].masks)
    assert by_paper[0].track_id > max(track.track_id for track in by_paper if any(track.masks))
    assert next(track for track in by_quality if track.track_id == by_paper[0].track_id).score == 0
    # The warmest square is in every frame: probability 1 / (1 + e^-4), mask probability 1 / (1 + e^-5) inside.
    assert by_quality[0].track_id == by_paper[1].track_id
    assert by_quality[0].score == pytest.approx(1 / (1 + np.exp(-4)) / (1 + np.exp(-5)), rel=1e-6)


def test_best_of_keeps_the_order(model):
    result = next(iter(model.stream(Pictures(1), StreamSettings(top_k=8))))
    assert best_of(result, 2).track_ids == result.track_ids[:2]


@pytest.mark.parametrize(("size", "batch"), [((480, 640), 4), ((100, 500), 3), ((100, 3200), 1), ((3000, 2000), 1)])
def test_pictures_that_are_large_to_the_network_come_in_small_batches(size, batch):
    source = Pictures(1)
    source.size = size
    assert resolve(StreamSettings(), source, torch.device("cpu")).batch == batch
