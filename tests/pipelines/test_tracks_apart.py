"""A query that holds two objects, taken apart where another outlines one of them."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.media import rle
from fewmask.media.results import FrameResult
from fewmask.pipelines.class_instances import CLASS_STRIDE, UntrackedPieces, outlined, separated
from fewmask.pipelines.tracks_apart import PLACE_FRAMES, TracksApart

SIZE = (64, 96)


def box(top, left, height, width):
    mask = np.zeros(SIZE, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def tracks(index, *rows):
    """Rows of id, score, mask, best first."""
    ids, scores, masks = zip(*rows, strict=True)
    return FrameResult(index, SIZE, ids, (1,) * len(rows), scores, tuple(map(rle.encode, masks)))


class Video:
    """Steps of one video."""

    def __init__(self):
        self.apart, self.index = TracksApart(), 0

    def step(self, *rows, after=1):
        self.index += after
        self.shown = self.apart.step(tracks(self.index, *rows))
        found = {track.track_id: track.mask for track in self.shown}
        assert len(found) == len(self.shown)  # no id twice
        return found


PERSON, DOG = box(5, 5, 40, 15), box(30, 50, 12, 20)


def same(first, second):
    return np.array_equal(first, second)


def test_a_piece_that_nobody_else_outlines_stays():
    found = Video().step((4, 0.9, PERSON | DOG), (7, 0.4, box(50, 80, 5, 5)))
    assert same(found[4], PERSON | DOG)


def test_a_piece_that_a_worse_track_outlines_is_shown_as_that_track_in_its_place():
    found = Video().step((4, 0.9, PERSON | DOG), (7, 0.4, box(30, 50, 12, 18)))
    assert set(found) == {4, 7}
    assert same(found[4], PERSON)
    assert same(found[7], DOG)


def test_a_piece_that_a_better_track_outlines_is_left_to_it():
    outline = box(30, 50, 12, 18)
    found = Video().step((8, 0.95, outline), (4, 0.9, PERSON | DOG))
    assert same(found[8], outline)
    assert same(found[4], PERSON)


def test_the_id_stays_whoever_outlines_the_piece_later():
    video = Video()
    video.step((4, 0.9, PERSON | DOG), (7, 0.4, DOG))
    far = box(10, 60, 12, 20)
    found = video.step((4, 0.9, PERSON | far), (8, 0.4, far), (7, 0.3, box(50, 0, 5, 5)))
    assert set(found) == {4, 7}
    assert same(found[7], far)


def test_a_piece_where_the_last_one_was_needs_no_outline_for_a_second():
    video, moved = Video(), box(30, 44, 12, 20)
    video.step((4, 0.9, PERSON | DOG), (7, 0.4, DOG))
    assert same(video.step((4, 0.9, PERSON | moved))[7], moved)
    assert set(video.step((4, 0.9, PERSON | moved), after=PLACE_FRAMES + 1)) == {4}


def test_its_own_is_where_its_own_was_even_if_it_is_the_smaller_now_or_gone():
    video, grown = Video(), box(5, 45, 50, 40)
    video.step((4, 0.9, PERSON | DOG), (7, 0.4, DOG))
    found = video.step((4, 0.9, PERSON | grown))
    assert same(found[4], PERSON)
    assert same(found[7], grown)
    assert same(video.step((4, 0.9, grown))[7], grown)


def test_the_remembered_owner_gets_the_piece_that_it_outlines_before_the_one_at_its_place():
    video, fragment, moved = Video(), box(32, 48, 6, 6), box(5, 60, 12, 20)
    video.step((4, 0.9, PERSON | DOG), (7, 0.4, DOG))
    found = video.step((4, 0.9, PERSON | fragment | moved), (7, 0.4, moved))
    assert same(found[7], moved)
    assert same(found[4], PERSON | fragment)


def test_an_owner_that_is_better_and_elsewhere_keeps_its_id():
    video, elsewhere = Video(), box(50, 0, 12, 12)
    video.step((4, 0.9, PERSON | DOG), (7, 0.4, DOG))
    found = video.step((7, 0.95, elsewhere), (4, 0.9, PERSON | DOG))
    assert same(found[7], elsewhere)
    assert same(found[4], PERSON | DOG)


def test_a_second_piece_goes_to_whoever_outlines_it():
    third, video = box(30, 75, 10, 10), Video()
    rows = (1, 0.9, PERSON | DOG | third), (2, 0.5, DOG), (3, 0.4, third)
    for _ in range(2):
        found = video.step(*rows)
        assert same(found[2], DOG)
        assert same(found[3], third)


def test_pieces_have_the_class_they_lie_in_and_no_vote_for_the_track_that_held_them():
    video = Video()
    of_classes = lambda *masks: FrameResult(  # noqa: E731
        0, SIZE, tuple(range(1, len(masks) + 1)), tuple(range(1, len(masks) + 1)), (0.7,) * len(masks),
        tuple(map(rle.encode, masks)),
    )  # fmt: skip
    overlaps, only_dogs = {}, {}
    for person in (PERSON, box(5, 5, 12, 8), box(5, 5, 12, 8)):  # smaller than the dog in the end
        video.step((4, 0.9, person | DOG), (7, 0.4, DOG))
        both = outlined(of_classes(person, DOG), video.shown, overlaps, UntrackedPieces())
        assert both.track_ids == (4, CLASS_STRIDE + 7)
        assert both.category_ids == (1, 2)
        assert outlined(of_classes(DOG), video.shown, only_dogs, UntrackedPieces()).track_ids == (7,)
        assert separated(of_classes(DOG), video.shown, UntrackedPieces()).track_ids == (7,)


def test_a_piece_of_a_shown_track_needs_less_of_the_class_than_others():
    video = Video()
    video.step((4, 0.9, PERSON | DOG), (7, 0.4, DOG))
    third, nothing = DOG & box(30, 50, 4, 20), np.zeros(SIZE, dtype=bool)

    def ids(*masks):
        of_classes = FrameResult(0, SIZE, (1, 2), (1, 2), (0.7, 0.7), tuple(map(rle.encode, masks)))
        return outlined(of_classes, video.shown, {}, UntrackedPieces()).track_ids

    assert ids(PERSON | third, nothing) == (4, 7)
    assert ids(PERSON, third) == (4, -2)  # another class than the holder's
    assert ids(third, nothing) == (-1,)  # the holder is not shown


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_nothing_is_made_up_and_going_on_from_a_state_is_going_on(seed, cut):
    rng = np.random.default_rng(seed)

    def any_boxes(count):
        return np.any([box(*rng.integers(0, (56, 86)), *rng.integers(4, (20, 25))) for _ in range(count)], axis=0)

    whole, resumed = TracksApart(), TracksApart()
    for index in range(6):
        if index == cut:
            fresh = TracksApart()
            fresh.restore(json.loads(json.dumps(resumed.state())))
            resumed = fresh
        parts = [any_boxes(1) for _ in range(3)]
        rows = [(1, 0.9, parts[0] | parts[1]), (2, 0.8, parts[1] | parts[2]), (3, 0.5, parts[1]), (4, 0.4, parts[2])]
        found, again = (apart.step(tracks(index, *rows)) for apart in (whole, resumed))
        assert [track.track_id for track in found] == [track.track_id for track in again]
        assert all(same(one.mask, other.mask) for one, other in zip(found, again, strict=True))
        assert len({track.track_id for track in found}) == len(found)
        assert all(any((track.mask & ~row).sum() == 0 for *_, row in rows) for track in found)  # part of some track
