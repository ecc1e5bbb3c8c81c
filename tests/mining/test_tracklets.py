"""UnOVOST, Tracktor and saliency: against plain loops, and on videos whose tracks are known."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.mining.flow import DisFlow
from fewmask.mining.saliency import masks_of, motion_saliency, surest_frames, video_pca, voted
from fewmask.mining.tracklets import (
    MOST_TRACKS,
    Piece,
    best_tracks,
    colours,
    disjoint,
    iou_table,
    label_maps,
    merged,
    tracklets,
    unovost,
    warped,
)
from fewmask.mining.tracktor import tracktor, tracktor_tracks


def square(y, x, side=8, size=(48, 64)):
    mask = np.zeros(size, bool)
    mask[max(0, y) : max(0, y + side), max(0, x) : max(0, x + side)] = True
    return mask


def flow_of(way, size=(48, 64)):
    return np.broadcast_to(np.array(way, np.float32), (*size, 2)).copy()


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_disjoint_as_a_plain_loop_does_it(seed):
    chance = np.random.default_rng(seed)
    masks = chance.random((5, 6, 7)) < 0.5
    scores = chance.random(5)
    found, kept = disjoint(masks, scores, least_score=0.2)
    taken, expected = set(), []
    for place in sorted(range(5), key=lambda i: -scores[i]):
        pixels = set(zip(*np.nonzero(masks[place]), strict=True))
        left = pixels - taken
        if scores[place] >= 0.2 and left and len(left) >= 0.5 * len(pixels):
            taken |= left
            expected.append((scores[place], left))
    assert kept.tolist() == [score for score, _ in expected]
    assert [set(zip(*np.nonzero(mask), strict=True)) for mask in found] == [left for _, left in expected]
    assert found.sum(0).max(initial=0) <= 1


def test_warping_follows_the_flow():
    moved = warped(square(10, 20)[None], flow_of((-5, -3)))
    assert (moved[0] == square(13, 25)).all()


def test_iou_table_equals_sets():
    chance = np.random.default_rng(0)
    a, b = chance.random((3, 9, 11)) < 0.4, chance.random((4, 9, 11)) < 0.4
    a[0] = b[0] = False
    plain = [[(x & y).sum() / (x | y).sum() if (x | y).any() else 0.0 for y in b] for x in a]
    assert np.allclose(iou_table(a, b), plain)


def test_fast_objects_need_the_flow():
    frames = [np.stack([square(4, 4 + 12 * t), square(30, 40 - 12 * t)])[:: (-1) ** t] for t in range(3)]
    backs = []
    for _ in range(2):
        back = flow_of((-12, 0))
        back[24:] = (12, 0)
        backs.append(back)
    assert sorted(map(len, tracklets(frames, backs))) == [3, 3]
    for chain in tracklets(frames, backs):
        rows = {int(np.nonzero(frames[piece.frame][piece.mask])[0].min()) for piece in chain}
        assert len(rows) == 1
    assert sorted(map(len, tracklets(frames, [flow_of((0, 0))] * 2))) == [1] * 6


@pytest.mark.parametrize("seed", range(4))
def test_a_tracklet_step_has_the_largest_total_overlap(seed):
    chance = np.random.default_rng(seed)
    masks = [np.stack([square(*chance.integers(0, 30, 2).tolist(), side=20) for _ in range(4)]) for _ in range(2)]
    table = iou_table(*masks)
    chains = tracklets(masks, [flow_of((0, 0))], least_iou=1e-9)
    total = sum(table[chain[0].mask, chain[1].mask] for chain in chains if len(chain) == 2)
    best = max(sum(table[r, c] for r, c in enumerate(order)) for order in itertools.permutations(range(4)))
    assert total == pytest.approx(best)


def test_merging_joins_what_looks_alike_and_was_never_seen_together():
    red, blue = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    looks = [np.stack([red, red]), np.stack([blue]), np.stack([red])]
    chains = [(Piece(0, 0),), (Piece(0, 1),), (Piece(1, 0),), (Piece(2, 0),)]
    assert merged(chains, looks) == [(Piece(0, 0), Piece(2, 0)), (Piece(0, 1),), (Piece(1, 0),)]
    assert merged(chains, looks, least_likeness=1.5) == chains
    everything = merged(chains, looks, least_likeness=-0.5)
    for track in everything:
        assert len({piece.frame for piece in track}) == len(track)
    assert {piece for track in everything for piece in track} == {piece for chain in chains for piece in chain}


def test_at_most_twenty_and_no_pixel_twice():
    masks = np.stack([square(8 * (k // 8), 8 * (k % 8)) for k in range(40)])
    scores = np.linspace(0.2, 0.9, 40)
    pictures = [np.zeros((48, 64, 3), np.uint8)] * 2
    maps = unovost(pictures, [(masks, scores)] * 2, [flow_of((0, 0))], least_likeness=2)
    assert [sorted(np.unique(labels)) for labels in maps] == [list(range(MOST_TRACKS + 1))] * 2
    assert (maps[0] == maps[1]).all()
    # The best-scored has number 1.
    assert (maps[0] == 1)[masks[39]].all()


def test_label_maps_and_ranking():
    frames = [np.stack([square(0, 0), square(20, 20)]), np.stack([square(0, 0)])]
    scores = [np.array([0.3, 0.5]), np.array([0.3])]
    tracks = [(Piece(0, 1),), (Piece(0, 0), Piece(1, 0))]
    best = best_tracks(tracks, scores, most=1)
    assert best == [tracks[1]]
    maps = label_maps(best, frames)
    assert [(labels == 1).sum() for labels in maps] == [64, 64]


def test_a_video_without_proposals_has_empty_maps():
    none = (np.zeros((0, 48, 64), bool), np.zeros(0))
    pictures = [np.zeros((48, 64, 3), np.uint8)] * 2
    assert not np.any(unovost(pictures, [none, none], [flow_of((0, 0))]))
    assert not np.any(tracktor(pictures, [none, none]))


def test_colours_are_of_the_mask_alone():
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[square(0, 0)] = (250, 10, 10)
    rgb[square(20, 20)] = (250, 10, 10)
    rgb[square(30, 40)] = (10, 10, 250)
    rows = colours(rgb, np.stack([square(0, 0), square(20, 20), square(30, 40)]))
    assert np.allclose(rows @ rows.T, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])


def test_tracktor_brings_back_what_was_lost():
    red, blue = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    none, empty = np.zeros((0, 48, 64), bool), np.zeros((0, 2))
    frames = [square(4, 4)[None], square(5, 6)[None], none, square(30, 40)[None]]
    assert [len(t) for t in tracktor_tracks(frames, [red, red, empty, red])] == [3]
    assert [len(t) for t in tracktor_tracks(frames, [red, red, empty, blue])] == [2, 1]
    long = [frames[0], *[none] * 12, frames[3]]
    assert [len(t) for t in tracktor_tracks(long, [red, *[empty] * 12, red])] == [1, 1]


def moving(count=8):
    chance = np.random.default_rng(1)
    ground = chance.integers(90, 130, (48, 64, 3)).astype(np.uint8)
    pictures, truths = [], []
    for t in range(count):
        truth = square(16, 4 + 5 * t, side=14)
        rgb = ground.copy()
        rgb[truth] = (ground[truth][::-1] // 3 + np.array([140, 20, 20])).astype(np.uint8)
        pictures.append(rgb)
        truths.append(truth)
    return pictures, truths


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_saliency_lies_on_what_moves():
    pictures, truths = moving()
    flow = DisFlow()
    moves = motion_saliency([flow(a, b) for a, b in itertools.pairwise(pictures)])
    for maps in (video_pca(pictures), moves, voted(pictures, moves, rounds=3)):
        assert maps.shape == (8, 48, 64)
        assert maps.min() >= 0
        assert maps.max() <= 1
        inside = np.mean([one[truth].mean() - one[~truth].mean() for one, truth in zip(maps, truths, strict=True)])
        assert inside > 0.25
    assert (
        np.mean([overlap(mask, truth) for mask, truth in zip(masks_of(voted(pictures, moves)), truths, strict=True)])
        > 0.3
    )


def test_the_surest_fifth():
    maps = np.zeros((10, 4, 4), np.float32)
    for t in range(10):
        maps[t, 0, 0] = (t * 7 % 10) / 10  # one pixel that counts; zeros do not
    best = sorted(range(10), key=lambda t: -(t * 7 % 10))[:2]
    assert surest_frames(maps).tolist() == sorted(best)
    assert len(surest_frames(maps[:1])) == 1
