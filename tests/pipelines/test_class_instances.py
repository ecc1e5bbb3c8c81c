"""Class masks taken apart along MinVIS tracks: nothing of the mask is lost, ids are MinVIS's own."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_squares import SIZE, SquareSegmenter, picture

from fewmask.media import rle
from fewmask.media.frames import Frame
from fewmask.media.results import FrameResult
from fewmask.minvis.stream import MinVIS
from fewmask.pipelines.class_instances import CLASS_STRIDE, QueryInstances, UntrackedPieces, outlined, separated
from fewmask.pipelines.kinship import Kinship
from fewmask.pipelines.tracks_apart import TracksApart
from fewmask.vipmt.instances import components

WARM, COLD = (220, 40, 40), (50, 70, 230)


def coloured(t, *colours):
    rgb = picture(t).astype(int)
    return np.any([np.abs(rgb - colour).sum(-1) < 60 for colour in colours], axis=0)


def class_result(t, *masks):
    ids = tuple(range(1, len(masks) + 1))
    encoded = tuple(rle.encode(mask) if mask.any() else None for mask in masks)
    return FrameResult(t, SIZE, ids, ids, (0.7,) * len(masks), encoded, t / 10)


def tracks_result(rows):
    """The masks that are to be shown of tracks with these ids, scores and masks."""
    tracks = FrameResult(
        0, SIZE, tuple(row[0] for row in rows), (1,) * len(rows), tuple(row[1] for row in rows),
        tuple(rle.encode(row[2]) for row in rows),
    )  # fmt: skip
    return TracksApart().step(tracks)


def box(top, left, height, width):
    mask = np.zeros(SIZE, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_two_objects_of_one_class_keep_minvis_ids_over_clips():
    objects = QueryInstances(MinVIS(SquareSegmenter()))
    ids = []
    for start in (0, 3, 6):
        frames = [Frame(t, t / 10, picture(t)) for t in range(start, start + 3)]
        for result in objects.step(frames, [class_result(f.index, coloured(f.index, WARM, COLD)) for f in frames]):
            union = rle.decode(rle.union(list(result.masks)))
            assert np.array_equal(union, coloured(result.index, WARM, COLD))
            assert result.category_ids == (1, 1)
            assert result.scores == (0.7, 0.7)
            ids.append(result.track_ids)
    assert len(set(ids)) == 1
    assert min(ids[0]) > 0


def test_going_on_from_a_state_gives_the_same_ids():
    whole, first, second = (QueryInstances(MinVIS(SquareSegmenter())) for _ in range(3))
    frames = [Frame(t, t / 10, picture(t)) for t in range(6)]
    classes = [class_result(t, coloured(t, WARM, COLD)) for t in range(6)]
    expected = [*whole.step(frames[:3], classes[:3]), *whole.step(frames[3:], classes[3:])]
    first.step(frames[:3], classes[:3])
    second.restore(first.state())
    assert second.step(frames[3:], classes[3:]) == expected[3:]


def test_a_track_mostly_outside_the_class_claims_nothing_and_unclaimed_components_have_names_of_their_own():
    inside = box(0, 0, 20, 20) | box(40, 60, 10, 10) | box(55, 0, 5, 9)
    left, astray = box(0, 0, 20, 12), box(5, 15, 30, 60)
    rows = [(4, 0.9, astray), (7, 0.8, left), (2, 0.1, inside)]
    result = separated(class_result(0, inside), tracks_result(rows), UntrackedPieces())
    masks = dict(zip(result.track_ids, map(rle.decode, result.masks), strict=True))
    assert set(masks) == {7, -1, -2}
    assert np.array_equal(masks[7], box(0, 0, 20, 20))
    assert np.array_equal(masks[-1], box(40, 60, 10, 10))
    assert np.array_equal(masks[-2], box(55, 0, 5, 9))


def test_pieces_that_no_track_covers_keep_their_names_from_frame_to_frame_and_share_none():
    pieces = UntrackedPieces()
    first, second, third = box(0, 0, 20, 20), box(40, 60, 10, 10), box(30, 0, 9, 9)

    def names(t, *masks):
        result = outlined(class_result(t, *masks), tracks_result([]), {}, pieces)
        return dict(zip(result.track_ids, result.category_ids, strict=True))

    before = names(0, first | second, third)
    assert sorted(before.values()) == [1, 1, 2]
    assert names(1, box(2, 2, 20, 20) | box(41, 61, 10, 10), box(30, 1, 9, 9)) == before
    assert names(2, np.zeros(SIZE, bool), third).items() < before.items()
    state = json.loads(json.dumps(pieces.state()))
    pieces = UntrackedPieces()
    pieces.restore(state)
    after = names(3, first | box(55, 20, 9, 9), third)
    assert len(after.keys() & before.keys()) == 2
    assert len(after) == 3


def test_the_better_track_owns_what_two_claim_and_classes_have_ids_of_their_own():
    first, second = box(0, 0, 20, 20), box(30, 30, 20, 20)
    rows = [(3, 0.9, box(0, 0, 20, 15)), (5, 0.5, box(0, 10, 20, 10)), (6, 0.5, second)]
    result = separated(class_result(0, first, second), tracks_result(rows), UntrackedPieces())
    masks = dict(zip(result.track_ids, map(rle.decode, result.masks), strict=True))
    assert set(masks) == {3, 5, CLASS_STRIDE + 6}
    assert np.array_equal(masks[3], box(0, 0, 20, 15))
    assert np.array_equal(masks[5], box(0, 15, 20, 5))
    assert dict(zip(result.track_ids, result.category_ids, strict=True))[CLASS_STRIDE + 6] == 2


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_objects_partition_the_class_mask(seed):
    rng = np.random.default_rng(seed)

    def any_box():
        return box(*rng.integers(0, (40, 60)), *rng.integers(1, (30, 50)))

    inside = any_box() | any_box() | any_box()
    rows = [(i + 1, float(score), any_box()) for i, score in enumerate(sorted(rng.random(6), reverse=True))]
    result = separated(class_result(0, inside), tracks_result(rows), UntrackedPieces())
    counted = sum((rle.decode(mask).astype(int) for mask in result.masks), np.zeros(SIZE, int))
    assert counted.max() <= 1
    assert not (counted.astype(bool) & ~inside).any()
    assert components(inside & (counted == 0)) == []  # specks alone are left out


def test_objects_have_their_own_outlines_in_the_class_they_lie_in():
    first, second = box(0, 0, 20, 30), box(30, 0, 20, 30)
    person, again, dog = box(2, 0, 20, 34), box(3, 0, 19, 33), box(30, 2, 24, 26)
    astray = box(0, 60, 40, 30)
    tracks = tracks_result([(4, 0.9, person), (6, 0.8, again), (7, 0.7, dog), (9, 0.6, astray), (3, 0.1, first)])
    result = outlined(class_result(0, first, second), tracks, {}, UntrackedPieces())
    assert result.track_ids == (4, CLASS_STRIDE + 7)
    assert result.category_ids == (1, 2)
    np.testing.assert_array_equal(rle.decode(result.masks[0]), person)
    np.testing.assert_array_equal(rle.decode(result.masks[1]), dog)


def test_a_class_mask_that_objects_do_not_explain_is_shown_itself():
    whole, part = box(0, 0, 40, 40), box(0, 0, 10, 10)
    pieces = UntrackedPieces()
    result = outlined(class_result(0, whole, box(50, 0, 0, 0)), tracks_result([(4, 0.9, part)]), {}, pieces)
    assert result.track_ids == (4, -1)
    np.testing.assert_array_equal(rle.decode(result.masks[1]), whole & ~part)
    assert outlined(class_result(1, whole), tracks_result([]), {}, UntrackedPieces()).track_ids == (-1,)


def test_one_coarse_class_mask_does_not_lose_an_object_and_one_lucky_frame_does_not_make_one():
    person, other = box(0, 0, 30, 30), box(0, 50, 30, 30)
    tracks = tracks_result([(4, 0.9, person), (5, 0.8, other)])
    overlaps, pieces = {}, UntrackedPieces()
    for t in range(3):
        assert outlined(class_result(t, person), tracks, overlaps, pieces).track_ids == (4,)
    assert outlined(class_result(3, box(0, 0, 9, 30) | other), tracks, overlaps, pieces).track_ids == (4, -1)
    assert outlined(class_result(4, box(0, 0, 9, 30)), tracks, overlaps, pieces).track_ids == (4,)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 7))
def test_objects_go_on_from_a_state(cut):
    whole, first, second = (QueryInstances(MinVIS(SquareSegmenter()), outlines=True) for _ in range(3))
    frames = [Frame(t, t / 10, picture(t)) for t in range(8)]
    classes = [class_result(t, coloured(t, WARM, COLD) if t % 3 else coloured(t, COLD)) for t in range(8)]
    expected = whole.step(frames, classes)
    found = first.step(frames[:cut], classes[:cut]) if cut else []
    second.restore(json.loads(json.dumps(first.state())))
    assert [*found, *second.step(frames[cut:], classes[cut:])] == expected


def kin(*tracks):
    """Kinship with one class: of each (id, belief) how much of it is the class's."""
    kinship = Kinship([np.array([1.0, 0.0])])
    for track_id, share in tracks:
        kinship.see({track_id: np.array([share, 1 - share], np.float32)})
    return kinship


def test_sure_kin_is_of_the_class_though_the_class_mask_missed_it():
    dog, woman = box(4, 4, 20, 12), box(4, 30, 20, 12)
    tracks = tracks_result([(1, 0.9, dog), (2, 0.8, woman)])
    coarse = class_result(0, woman)  # the class mask lies on the woman
    assert outlined(coarse, tracks, {}, UntrackedPieces()).track_ids == (2 + CLASS_STRIDE * 0,)
    result = outlined(coarse, tracks, {}, UntrackedPieces(), kin((1, 0.95), (2, 0.02)), {})
    assert result.track_ids == (1,)
    assert np.array_equal(rle.decode(result.masks[0]), dog)


def test_where_objects_explain_the_class_mask_so_far_its_pieces_are_mistakes():
    dog, elsewhere, nothing = box(4, 4, 20, 12), box(30, 40, 10, 20), np.zeros(SIZE, bool)
    explained = {}

    def ids(t, mask, *tracks, share=0.95):
        found = tracks_result([(number, 0.9, where) for number, where in tracks])
        kinship = kin(*((number, share) for number, _ in tracks))
        return outlined(class_result(t, mask), found, {}, UntrackedPieces(), kinship, explained).track_ids

    for t in range(3):
        assert ids(t, dog, (1, dog)) == (1,)
    assert ids(3, elsewhere) == ()  # 3 x 240 of 920 pixels were the dog's
    assert ids(4, box(0, 0, 60, 90)) == (-1,)  # and now few are
    assert explained == {0: [720, 720 + 200 + 5400]}
    assert ids(5, nothing, (1, dog)) == (1,)


def test_what_is_an_object_of_another_kind_neither_hides_the_class_nor_is_shown():
    dog, woman, wall = box(4, 4, 20, 12), box(30, 30, 20, 40), box(52, 80, 8, 10)
    tracks = tracks_result([(1, 0.9, dog), (2, 0.8, woman)])
    result = outlined(class_result(0, dog | woman | wall), tracks, {}, UntrackedPieces(), kin((1, 0.95), (2, 0.02)), {})
    assert result.track_ids == (1,)  # the dog is 240 of the 320 pixels that are not the woman's
    assert outlined(
        class_result(0, woman | wall), tracks, {}, UntrackedPieces(), kin((1, 0.02), (2, 0.02)), {}
    ).track_ids == (-1,)


def test_a_combination_of_things_is_found_in_its_parts():
    """Pictures of riders are half person, half horse: neither part is sure kin, each lies in the mask partly."""
    rider, horse = box(4, 4, 20, 12), box(24, 4, 20, 30)
    kinship = Kinship([np.array([0.5, 0.5, 0.0])])
    kinship.see({1: np.array([1, 0, 0], np.float32), 2: np.array([0, 1, 0], np.float32)})
    kinship.see({3: np.array([0.2, 0.0, 0.8], np.float32)})
    tracks = tracks_result([(1, 0.9, rider), (2, 0.8, horse), (3, 0.7, box(4, 50, 20, 20))])
    result = outlined(class_result(0, box(13, 4, 31, 70)), tracks, {}, UntrackedPieces(), kinship, {})
    assert result.track_ids == (1, 2)


def test_what_is_neither_kin_nor_stranger_is_left_to_the_class_mask():
    dog = box(4, 4, 20, 12)
    tracks = tracks_result([(1, 0.9, dog)])
    for share, ids in ((0.5, (1,)), (0.01, ())):
        found = outlined(class_result(0, dog), tracks, {}, UntrackedPieces(), kin((1, share)), {})
        assert found.track_ids == ids, share
