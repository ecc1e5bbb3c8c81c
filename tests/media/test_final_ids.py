"""Ids for users: from 1, in order of appearance, the same whatever a method calls its tracks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fewmask.media import rle
from fewmask.media.final_ids import AppearanceIds, final_ids, first_frames, with_ids
from fewmask.media.results import FrameResult

MASK = rle.encode(np.array([[1, 0]]))


def frame(index, **masks):
    names = tuple(int(name[1:]) for name in masks)
    count = len(names)
    return FrameResult(index, (1, 2), names, (1,) * count, (0.5,) * count, tuple(masks.values()), index / 10)


def test_order_of_appearance_among_the_shown_then_the_others():
    first = first_frames([frame(0, t70=MASK, t4=None), frame(1, t4=MASK, t9=MASK), frame(5, t2=MASK, t70=MASK)])
    assert first == {70: 0, 4: 1, 9: 1, 2: 5}
    assert final_ids([2, 9, 4, 70, 33], first, [0, 0, 0, 1, 0]) == [3, 1, 2, 5, 4]


def test_several_classes_of_one_object_and_ids_already_seen():
    assert final_ids([7, 7, 3], {7: 2, 3: 0}, [0, 1, 0]) == [2, 3, 1]
    assert final_ids([7, 7, 3, 5], {7: 2, 3: 0, 5: 1}, [0, 1, 0, 0], {3: 2, 7: 1, 8: 3}) == [1, 5, 2, 4]


@given(st.data())
def test_ids_count_from_one_without_a_gap(data):
    names = data.draw(st.lists(st.integers(-5, 900), max_size=12))
    first = {name: data.draw(st.integers(0, 9)) for name in set(names) if data.draw(st.booleans())}
    tiers = [data.draw(st.integers(0, 2)) for _ in names]
    ids = final_ids(names, first, tiers)
    assert sorted(ids) == list(range(1, len(names) + 1))
    by_id = sorted(range(len(names)), key=lambda row: ids[row])
    assert [tiers[row] for row in by_id] == sorted(tiers)
    for tier in range(3):
        seen = [first[names[row]] for row in by_id if tiers[row] == tier and names[row] in first]
        assert seen == sorted(seen)


def test_ids_of_a_running_video_never_change():
    ids = AppearanceIds()
    one = ids.number(frame(0, t9=None, t4=MASK))
    assert (one.track_ids, one.masks) == ((1,), (MASK,))
    two = ids.number(frame(1, t9=MASK, t4=None, t6=None))
    assert (two.track_ids, two.masks, two.time_s) == ((2, 1), (MASK, None), 0.1)
    assert with_ids(frame(2, t9=MASK, t6=MASK), {6: 3}).track_ids == (3,)
