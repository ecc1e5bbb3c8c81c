"""The paper's other ways to link frames."""

from itertools import permutations

import numpy as np
import pytest
import torch

from fewmask.minvis.heuristics import FrameQueries, InTrackOrder, cosine_cost, heuristic_cost, match_frames
from fewmask.minvis.matching import match_queries
from fewmask.minvis.segmenter import SegmenterOutput


def random_frame(seed: int = 0, queries: int = 6, classes: int = 4) -> FrameQueries:
    generator = torch.Generator().manual_seed(seed)
    return FrameQueries(
        3 * torch.randn(queries, classes + 1, generator=generator),
        5 * torch.randn(queries, 8, 10, generator=generator),
        torch.randn(queries, 16, generator=generator),
    )


def brute_force_cost(previous: FrameQueries, current: FrameQueries) -> np.ndarray:
    """Equation by equation, pair by pair, in float64."""
    count = len(previous.class_logits)
    cost = np.zeros((count, count))
    for i in range(count):
        label = int(previous.class_logits[i].argmax())
        target = (previous.mask_logits[i] > 0).double()
        for j in range(count):
            probability = current.class_logits[j].double().softmax(0)[label]
            inside = current.mask_logits[j].double().sigmoid()
            entropy = -(target * inside.log() + (1 - target) * (1 - inside).log()).mean()
            dice = 1 - (2 * (inside * target).sum() + 1) / (inside.sum() + target.sum() + 1)
            cost[i, j] = -2 * probability + 5 * entropy + 5 * dice
    return cost


def test_heuristic_cost_by_brute_force():
    previous, current = random_frame(0), random_frame(1)
    np.testing.assert_allclose(
        heuristic_cost(previous, current).numpy(), brute_force_cost(previous, current), rtol=1e-4
    )


@pytest.mark.parametrize("matching", ["query", "both", "heuristics"])
def test_every_way_undoes_a_permutation(matching):
    frame = random_frame()
    shuffle = np.array([3, 0, 5, 1, 2, 4])
    order = match_frames(frame, frame.in_order(shuffle), matching)
    assert shuffle[order].tolist() == list(range(6))


@pytest.mark.parametrize("matching", ["both", "heuristics"])
def test_order_is_the_cheapest_assignment(matching):
    previous, current = random_frame(2, queries=5), random_frame(3, queries=5)
    cost = brute_force_cost(previous, current)
    if matching == "both":
        cost = cost + cosine_cost(previous.embeddings, current.embeddings).numpy()
    best = min(permutations(range(5)), key=lambda order: sum(cost[i, j] for i, j in enumerate(order)))
    assert match_frames(previous, current, matching).tolist() == list(best)


def test_query_only_is_the_trackers_own_matching():
    previous, current = random_frame(4), random_frame(5)
    assert np.array_equal(
        match_frames(previous, current, "query"), match_queries(previous.embeddings, current.embeddings)
    )


def test_masks_and_embeddings_can_disagree():
    frame = random_frame()
    crossed = FrameQueries(frame.class_logits, frame.mask_logits, frame.embeddings[[1, 0, 2, 3, 4, 5]])
    assert match_frames(frame, crossed, "heuristics").tolist() == [0, 1, 2, 3, 4, 5]
    assert match_frames(frame, crossed, "query").tolist() == [1, 0, 2, 3, 4, 5]


def test_embeddings_that_are_no_numbers_count_as_unrelated():
    embeddings = torch.eye(3)
    broken = embeddings.clone()
    broken[0, 0] = float("nan")
    assert torch.equal(cosine_cost(embeddings, broken)[:, 0], torch.ones(3))


class _Recorded:
    """Plays a list of frames back."""

    num_classes, categories, short_side = 4, {0: "a"}, None
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, frames: list[FrameQueries]) -> None:
        self.frames, self.position = frames, 0

    def __call__(self, frames, *, short_side=None, max_size=1333):
        played = self.frames[self.position : self.position + len(frames)]
        self.position += len(played)
        stacked = (torch.stack([getattr(frame, name) for frame in played]) for name in FrameQueries.__slots__)
        return SegmenterOutput(*stacked, padded_size=(32, 40), image_size=(32, 40))

    def reset(self) -> None:
        self.position = 0


@pytest.mark.parametrize("pieces", [(1, 1, 1, 1), (4,), (3, 1)])
def test_frames_come_in_track_order_however_they_are_cut(pieces):
    first = random_frame()
    shuffles = [np.random.default_rng(seed).permutation(6) for seed in range(3)]
    segmenter = InTrackOrder(_Recorded([first, *(first.in_order(shuffle) for shuffle in shuffles)]), "heuristics")
    for _ in range(2):  # the second video starts afresh
        for count in pieces:
            output = segmenter(np.zeros((count, 32, 40, 3), np.uint8))
            for masks, logits in zip(output.masks_queries_logits, output.class_queries_logits, strict=True):
                assert torch.equal(masks, first.mask_logits)
                assert torch.equal(logits, first.class_logits)
            assert match_queries(output.query_embeddings[0], output.query_embeddings[-1]).tolist() == list(range(6))
        segmenter.reset()
