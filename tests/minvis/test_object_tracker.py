"""Tracks with lives: following, resting, returning, ending; state; bounds."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.minvis import object_tracker
from fewmask.minvis.object_tracker import LinkSettings, ObjectTracker

SIZE = (12, 20)


def query(name, left, score=0.9, top=2, side=5):
    """One query: an object with an embedding of its own, a square mask and a score."""
    embedding = np.zeros(8, dtype=np.float32)
    embedding[name] = 1.0
    mask = np.zeros(SIZE, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return embedding, mask, score


def step(tracker, *queries, label=0):
    embeddings = np.stack([q[0] for q in queries]) if queries else np.zeros((0, 8), np.float32)
    masks = np.stack([q[1] for q in queries]) if queries else np.zeros((0, *SIZE), bool)
    logits = np.full((len(queries), 4), -20.0)
    for row, (_, _, score) in enumerate(queries):
        logits[row, label] = np.log(score)
        logits[row, 3] = np.log(1 - score)
    order = tracker.step(logits, embeddings, None, masks)
    return {int(i): int(q) for i, q in zip(tracker.ids, order, strict=True) if q >= 0}


def test_objects_keep_their_ids_however_the_queries_are_ordered():
    tracker = ObjectTracker()
    assert step(tracker, query(0, 0), query(1, 12)) == {1: 0, 2: 1}
    assert step(tracker, query(1, 11), query(0, 1)) == {1: 1, 2: 0}
    assert step(tracker, query(0, 2), query(1, 10)) == {1: 0, 2: 1}


def test_a_vanished_object_takes_over_nothing_and_returns_as_itself():
    tracker = ObjectTracker()
    step(tracker, query(0, 0), query(1, 12))
    for t in range(30):  # a wall appears where nothing was; the second object is away
        found = step(tracker, query(0, 0), query(5, 8, top=7, side=4))
        assert set(found) == {1, 3}, t
    assert step(tracker, query(1, 3, top=6), query(0, 0))[2] == 0


def test_after_the_memory_it_is_a_new_object():
    tracker = ObjectTracker(LinkSettings(memory=10))
    for _ in range(3):
        step(tracker, query(1, 12))
    for _ in range(11):
        assert step(tracker, query(0, 0)) == {2: 0}
    assert step(tracker, query(1, 12), query(0, 0)) == {2: 1, 3: 0}


def partly(name, share, left, score=0.9, rest=7):
    """A view that is like object ``name`` by this cosine, otherwise like nothing."""
    embedding, mask, _ = query(name, left)
    embedding[name], embedding[rest] = share, np.sqrt(1 - share**2)
    return embedding, mask, score


def test_what_comes_back_in_part_turns_out_to_be_itself():
    tracker = ObjectTracker()
    for _ in range(5):
        step(tracker, query(0, 0), query(1, 12))
    step(tracker, query(0, 0))
    assert step(tracker, query(0, 0), partly(1, 0.4, 6, 0.3)) == {1: 0, 3: 1}, "not like it yet"
    assert step(tracker, query(0, 0), query(1, 7)) == {1: 0, 2: 1}
    assert tracker.joined == {3: 2}
    assert step(tracker, query(0, 0), query(1, 8)) == {1: 0, 2: 1}
    assert len(tracker.ids) == 2


@pytest.mark.parametrize(
    ("change", "away", "score"),
    [({"young": 0}, 1, 0.3), ({"memory": 3}, 5, 0.3), ({"young": 3}, 1, 0.99), ({"recall": 0.99}, 1, 0.6)],
)
def test_what_is_never_joined(change, away, score):
    """Switched off; beyond the memory; once it is no longer young; when it is not like enough."""
    tracker = ObjectTracker(LinkSettings(**change))
    for _ in range(5):
        step(tracker, query(1, 12))
    for _ in range(away):
        step(tracker)
    for _ in range(3):
        assert step(tracker, partly(1, 0.4, 5, score)) == {2: 0}
    for _ in range(4):
        assert step(tracker, query(1, 5, score)) == {2: 0}
    assert not tracker.joined


def test_two_that_were_seen_together_are_two():
    tracker = ObjectTracker()
    for _ in range(5):
        step(tracker, query(1, 0), partly(1, 0.4, 12))
    for _ in range(5):
        assert step(tracker, query(1, 11)) == {2: 0}
    assert not tracker.joined


def test_a_track_that_was_joined_twice_is_known_by_its_first_id():
    tracker = ObjectTracker(LinkSettings(recall=0.9))
    for _ in range(4):
        step(tracker, query(1, 12))
    step(tracker)
    for _ in range(4):
        assert step(tracker, partly(1, 0.6, 6, 0.25)) == {2: 0}
    step(tracker)
    step(tracker, partly(1, 0.5, 0, 0.25, rest=6))
    for _ in range(2):
        step(tracker, partly(1, 0.6, 0, 0.4))
    assert tracker.joined == {3: 2}
    for _ in range(6):
        found = step(tracker, query(1, 0, 0.99))
    assert found == {1: 0}
    assert tracker.joined == {3: 1, 2: 1}


def test_an_unsure_query_continues_a_track_and_starts_none():
    tracker = ObjectTracker(LinkSettings(least_score=0.05, birth_score=0.3))
    assert step(tracker, query(0, 0, 0.2)) == {}
    assert step(tracker, query(0, 0, 0.5)) == {1: 0}
    assert step(tracker, query(0, 1, 0.1)) == {1: 0}
    assert step(tracker, query(0, 1, 0.04)) == {}


def test_a_part_of_what_is_followed_is_no_object_of_its_own():
    tracker = ObjectTracker()
    step(tracker, query(0, 0, side=8))
    assert step(tracker, query(0, 0, side=8), query(3, 1, top=3, side=3)) == {1: 0}


def test_the_name_with_most_votes_wins_and_each_track_has_one():
    tracker = ObjectTracker()
    step(tracker, query(0, 0), label=1)
    step(tracker, query(0, 0), label=2)
    step(tracker, query(0, 0), label=2)
    best = tracker.best(5)
    assert best.labels.tolist() == [2]
    assert (tracker.scores > 0).sum() == 1
    # Two of the four frames of nothing that a young track is given, three of 0.9.
    assert best.scores[0] == pytest.approx(3 * 0.9 / (3 + 2), rel=1e-6)


def test_an_empty_frame_and_a_frame_of_another_size_of_masks():
    tracker = ObjectTracker()
    assert step(tracker) == {}
    assert tracker.best(3).scores.shape == (0,)
    step(tracker, query(0, 0))
    order = tracker.step(np.log([[0.9, 1e-6, 1e-6, 0.1]]), query(0, 0)[0][None], None, np.ones((1, 4, 4), bool))
    assert order.tolist() == [0]  # the embedding alone decides


def test_the_number_of_tracks_is_bounded_and_ids_are_never_used_again(monkeypatch):
    monkeypatch.setattr(object_tracker, "MOST", 6)
    tracker = ObjectTracker(LinkSettings(memory=1000, recall=2.0, follow=2.0))
    seen = set()
    for _ in range(40):
        found = step(tracker, query(0, 0), query(1, 12))
        assert not set(found) & seen
        seen |= set(found)
        assert len(tracker.ids) <= 6


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 14), st.floats(0.06, 0.99)), max_size=4),
                min_size=2, max_size=12), st.integers(0, 11))  # fmt: skip
def test_going_on_from_a_stored_state_equals_never_having_stopped(frames, cut):
    whole = ObjectTracker()
    halves = ObjectTracker()
    for t, frame in enumerate(frames):
        queries = [query(name, left, score) for name, left, score in frame]
        if t == cut:
            halves = ObjectTracker.from_state(json.loads(json.dumps(halves.state())))
        assert step(whole, *queries) == step(halves, *queries)
    np.testing.assert_array_equal(whole.scores, halves.scores)
    assert whole.state() == halves.state()
