"""Corrections as rearranged pieces, against the same corrections done on bitmaps of every frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import dense_tracks

from fewmask.corrections.edits import AddTrack, Confirm, Delete, Merge, RenameClass, SetClass, SetMask, Split, Swap
from fewmask.corrections.state import Corrected, checked_mask
from fewmask.errors import DatasetError
from fewmask.media import rle

LENGTH, SIZE = 12, (6, 8)
DENSE = {
    track: np.random.default_rng(track).random((LENGTH, *SIZE)) < 0.3 * np.linspace(0, 1, LENGTH)[:, None, None]
    for track in (1, 2, 3)
}


class Bitmaps:
    """The oracle: a bitmap per track and frame."""

    def __init__(self):
        self.tracks = {track: masks.copy() for track, masks in DENSE.items()}
        self.alive = {track: np.ones(LENGTH, bool) for track in DENSE}  # frames that any piece covers
        self.next = 4

    def apply(self, edit):
        tracks, alive = self.tracks, self.alive
        match edit:
            case Merge():
                tracks[edit.into] |= tracks.pop(edit.other)
                alive[edit.into] |= alive.pop(edit.other)
            case Split():
                after = np.arange(LENGTH) >= edit.frame
                tracks[self.next] = tracks[edit.track] & after[:, None, None]
                alive[self.next] = alive[edit.track] & after
                tracks[edit.track] &= ~after[:, None, None]
                alive[edit.track] &= ~after
                self.next += 1
            case Swap():
                for values in (tracks, alive):
                    one, two = values[edit.first].copy(), values[edit.second].copy()
                    values[edit.first][edit.frame :], values[edit.second][edit.frame :] = (
                        two[edit.frame :], one[edit.frame :],
                    )  # fmt: skip
            case Delete():
                first, last = edit.first or 0, LENGTH - 1 if edit.last is None else edit.last
                tracks[edit.track][first : last + 1] = False
                alive[edit.track][first : last + 1] = False
            case SetMask():
                mask = decoded(edit.counts)
                tracks[edit.track][edit.frame] = mask
                alive[edit.track][edit.frame] = mask.any()
            case AddTrack():
                tracks[self.next] = np.zeros((LENGTH, *SIZE), bool)
                tracks[self.next][edit.frame] = decoded(edit.counts)
                alive[self.next] = tracks[self.next].any((1, 2))
                self.next += 1
        for track in [track for track, there in alive.items() if not there.any()]:
            del tracks[track], alive[track]


def decoded(counts):
    return np.zeros(SIZE, bool) if counts is None else rle.decode({"size": list(SIZE), "counts": counts})


def dense(state):
    """What the pieces say, as bitmaps."""
    found = {}
    for track in state.tracks.values():
        masks = np.zeros((LENGTH, *SIZE), bool)
        for piece in track.pieces:
            stretch = slice(piece.first, piece.last + 1)
            masks[stretch] |= DENSE[piece.source][stretch] if piece.source is not None else decoded(piece.drawn)
        found[track.track_id] = masks
    return found


ids = st.integers(1, 8)
frames = st.integers(0, LENGTH - 1)
masks = st.none() | st.integers(0, 1000).map(
    lambda seed: rle.encode(np.random.default_rng(seed).random(SIZE) < 0.4)["counts"]
)
edits = st.one_of(
    st.builds(Merge, into=ids, other=ids),
    st.builds(Split, track=ids, frame=frames),
    st.builds(Swap, first=ids, second=ids, frame=frames),
    st.builds(Delete, track=ids, first=st.none() | frames, last=st.none() | frames),
    st.builds(SetMask, track=ids, frame=frames, counts=masks),
    st.builds(AddTrack, name=st.just("new"), frame=frames, counts=masks.filter(lambda counts: counts is not None)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(edits, max_size=12))
def test_pieces_are_what_bitmaps_would_be(wanted):
    state, oracle = Corrected.untouched(SIZE, LENGTH, [(track, "object") for track in DENSE]), Bitmaps()
    for edit in wanted:
        try:
            state = state.after(edit)
        except DatasetError:
            continue
        oracle.apply(edit)
        found = dense(state)
        assert found.keys() == oracle.tracks.keys()
        for track, masks_ in oracle.tracks.items():
            np.testing.assert_array_equal(found[track], masks_)


def test_ids_are_never_used_twice():
    state = Corrected.untouched(SIZE, LENGTH, [(1, "a"), (7, "b")])
    state = state.after(Split(track=1, frame=5))
    state = state.after(Delete(track=8)).after(Split(track=7, frame=5))
    assert set(state.tracks) == {1, 7, 9}


def test_classes():
    state = Corrected.untouched(SIZE, LENGTH, [(1, "a"), (2, "a"), (3, "b")])
    state = state.after(SetClass(track=2, name="dog")).after(RenameClass(old="a", new="cat"))
    assert {track.track_id: track.name for track in state.tracks.values()} == {1: "cat", 2: "dog", 3: "b"}
    with pytest.raises(DatasetError, match="no track of the class 'a'"):
        state.after(RenameClass(old="a", new="x"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.builds(Confirm, first=frames, last=frames, right=st.booleans()), max_size=10))
def test_confirmed_frames(wanted):
    state, right = Corrected.untouched(SIZE, LENGTH, [(1, "a")]), set()
    for edit in wanted:
        if edit.first > edit.last:
            with pytest.raises(DatasetError):
                state.after(edit)
            continue
        state = state.after(edit)
        stretch = set(range(edit.first, edit.last + 1))
        right = right | stretch if edit.right else right - stretch
        assert {frame for first, last in state.checked for frame in range(first, last + 1)} == right
        assert all(b < c - 1 for (_, b), (c, _) in zip(state.checked, state.checked[1:], strict=False))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Merge(into=1, other=1), "itself"),
        (Merge(into=1, other=9), "no track 9"),
        (Split(track=1, frame=0), "nothing on one side"),
        (Split(track=1, frame=LENGTH), "no frame 12"),
        (Swap(first=2, second=2, frame=3), "itself"),
        (Delete(track=1, first=5, last=4), "comes after"),
        (SetMask(track=1, frame=99, counts=None), "no frame 99"),
        (SetMask(track=1, frame=0, counts="0"), "covers"),
        (SetMask(track=1, frame=0, counts="PPPPPPPPPP"), "endless"),
        (AddTrack(name="x", frame=0, counts=rle.empty(*SIZE)["counts"]), "empty"),
    ],
)
def test_what_cannot_be(edit, message):
    with pytest.raises(DatasetError, match=message):
        Corrected.untouched(SIZE, LENGTH, [(1, "a"), (2, "b")]).after(edit)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000))
def test_good_run_lengths_pass_as_they_are(seed):
    chance = np.random.default_rng(seed)
    size = tuple(chance.integers(1, 40, 2).tolist())
    mask = rle.encode(chance.random(size) < chance.random())
    assert checked_mask(mask["counts"], size) == mask


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), min_size=1, max_size=20))
def test_odd_run_lengths_are_refused_or_whole(counts):
    try:
        mask = checked_mask(counts, SIZE)
    except DatasetError:
        return
    assert rle.decode(mask).shape == SIZE


def test_dense_tracks_are_there():
    assert all(masks_.any() for masks_ in dense_tracks().values())
