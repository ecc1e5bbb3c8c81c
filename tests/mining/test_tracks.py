"""Linking selected masks over time."""

import numpy as np

from fewmask.media import rle
from fewmask.mining.tracks import link_tracks, stability


def box(x, width=10):
    mask = np.zeros((20, 60), bool)
    mask[5:15, x : x + width] = True
    return rle.encode(mask)


def test_ids_follow_the_masks_and_not_their_order():
    frames = [[box(5), box(40)], [box(41), box(6)], [box(7), box(42)]]
    assert link_tracks(frames, 0.3, 1) == [[1, 2], [2, 1], [1, 2]]


def test_a_gap_is_bridged_as_far_as_told():
    frames = [[box(5)], [], [], [box(6)]]
    assert link_tracks(frames, 0.3, 3) == [[1], [], [], [1]]
    assert link_tracks(frames, 0.3, 2) == [[1], [], [], [2]]


def test_little_overlap_starts_a_track():
    assert link_tracks([[box(5)], [box(13)]], 0.3, 1) == [[1], [2]]


def test_the_assignment_is_of_largest_total_overlap():
    frames = [[box(10), box(14)], [box(12, 8), box(15)]]
    assert link_tracks(frames, 0.1, 1) == [[1, 2], [1, 2]]


def test_no_frames_and_empty_frames():
    assert link_tracks([], 0.3, 1) == []
    assert link_tracks([[], []], 0.3, 1) == [[], []]
    assert stability([[box(3)]], [[1]]) == [[0.0]]


def test_stability_is_the_mean_iou_with_the_neighbours():
    frames = [[box(5)], [box(5)], [box(10)]]
    steady = stability(frames, [[1], [1], [1]])
    assert steady == [[1.0], [(1 + 1 / 3) / 2], [1 / 3]]
    assert stability(frames, [[1], [1], [2]])[2] == [0.0]
