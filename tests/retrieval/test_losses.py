import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.errors import ConfigError
from fewmask.retrieval.losses import (
    instance_nce_loss,
    mil_nce_loss,
    printed_rank_loss,
    rank_loss,
    smooth_precision,
    smooth_rank,
)

FIXTURES = Path(__file__).parent / "fixtures"
CASES = np.load(FIXTURES / "cases.npz")
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


def unit_vectors(similarity):
    """Vectors whose cosine with (1, 0) is the given similarity."""
    values = torch.as_tensor(similarity, dtype=torch.float64)
    return torch.stack([values, (1 - values**2).clamp(min=0).sqrt()], -1).reshape(-1, 2)


ANCHOR = torch.tensor([1.0, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("case", EXPECTED["retrieval_losses_own_oracle"])
def test_rank_and_nce_match_the_recorded_values(case):
    near = unit_vectors(CASES[f"{case}.positive_similarity"])
    far = unit_vectors(CASES[f"{case}.negative_similarity"])
    expected = EXPECTED["retrieval_losses_own_oracle"][case]
    for temperature, values in expected["rank"].items():
        loss = rank_loss(ANCHOR, near, far, temperature=float(temperature))
        assert loss.item() == pytest.approx(values["loss"], abs=1e-5)
    for temperature, value in expected["nce"].items():
        assert mil_nce_loss(ANCHOR, near, far, temperature=float(temperature)).item() == pytest.approx(value, abs=1e-5)


def smooth_ap_loss(similarity, same, temperature):
    """1 - mean smooth average precision where every item is once the query and counts among its own positives."""
    precisions = [
        smooth_precision(row[alike], row[~alike], temperature=temperature).mean()
        for row, alike in zip(similarity, same, strict=True)
    ]
    return 1 - torch.stack(precisions).mean()


@pytest.mark.parametrize("case", EXPECTED["smooth_ap"])
def test_smooth_ap_matches_the_recorded_values_and_gradients(case):
    embeddings = torch.tensor(CASES[f"{case}.embeddings"]).requires_grad_()
    classes = torch.arange(len(embeddings)) // (len(embeddings) // int(CASES[f"{case}.num_classes"]))
    for temperature, expected in EXPECTED["smooth_ap"][case]["per_temperature"].items():
        same = classes[:, None] == classes
        loss = smooth_ap_loss(embeddings @ embeddings.T, same, temperature=float(temperature))
        (gradient,) = torch.autograd.grad(loss, embeddings)
        assert loss.item() == pytest.approx(expected["loss"], abs=1e-6)
        assert gradient.norm().item() == pytest.approx(expected["grad_norm"], rel=1e-4, abs=1e-6)


def exact_average_precision(near, far):
    """Brute force: sort everything, read the precision at each positive."""
    order = np.argsort(-np.concatenate([near, far]), kind="stable")
    hits = order < len(near)
    return np.mean(np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 30), st.integers(0, 2**16))
def test_rank_loss_becomes_the_exact_average_precision_as_the_temperature_falls(positives, negatives, seed):
    # A permutation of an even grid: no ties, and gaps far above the temperature.
    values = np.random.default_rng(seed).permutation(np.linspace(-0.9, 0.9, positives + negatives))
    near, far = values[:positives], values[positives:]
    loss = rank_loss(ANCHOR, unit_vectors(near), unit_vectors(far), temperature=1e-5)
    assert loss.item() == pytest.approx(-np.log(exact_average_precision(near, far)), abs=1e-6)


def test_smooth_rank_counts_the_items_above():
    others = torch.tensor([0.9, 0.1, 0.5, -0.2])
    assert smooth_rank(torch.tensor(0.3), others, 1e-4).item() == pytest.approx(3)


def test_at_the_printed_temperature_a_perfect_rank_still_looks_bad():
    near, far = unit_vectors(np.linspace(0.8, 0.9, 4)), unit_vectors(np.linspace(-0.2, 0.4, 1276))
    assert rank_loss(ANCHOR, near, far, temperature=0.01).item() < 1e-3
    assert rank_loss(ANCHOR, near, far, temperature=2.0).item() > 5


@pytest.mark.parametrize("loss", [rank_loss, mil_nce_loss])
def test_a_step_along_the_gradient_brings_positives_nearer(loss):
    generator = torch.Generator().manual_seed(0)
    query, positives, negatives = (torch.randn(*shape, 16, generator=generator) for shape in [(3,), (3, 4), (20,)])
    query = torch.nn.functional.normalize(query, dim=-1).requires_grad_()
    positives, negatives = (torch.nn.functional.normalize(x, dim=-1) for x in (positives, negatives))
    before = loss(query, positives, negatives, temperature=0.1)
    (gradient,) = torch.autograd.grad(before, query)
    assert gradient.norm(dim=-1).min() > 0
    assert loss(query.detach() - 0.05 * gradient, positives, negatives, temperature=0.1) < before


@pytest.mark.parametrize("loss", [rank_loss, mil_nce_loss])
def test_a_batch_is_the_mean_of_its_members_and_negatives_may_differ_per_member(loss):
    generator = torch.Generator().manual_seed(1)
    query, positives, negatives = (torch.randn(*shape, 8, generator=generator) for shape in [(5,), (5, 3), (5, 7)])
    single = [loss(q, p, n, temperature=0.5) for q, p, n in zip(query, positives, negatives, strict=True)]
    assert loss(query, positives, negatives, temperature=0.5).item() == pytest.approx(torch.stack(single).mean().item())
    shared = [loss(q, p, negatives[0], temperature=0.5) for q, p in zip(query, positives, strict=True)]
    batch = loss(query, positives, negatives[0], temperature=0.5)
    assert batch.item() == pytest.approx(torch.stack(shared).mean().item())


def test_instance_nce_is_cross_entropy_with_the_key_first():
    generator = torch.Generator().manual_seed(2)
    query, key, queue = (torch.randn(*shape, 8, generator=generator) for shape in [(4,), (4,), (11,)])
    logits = torch.cat([(query * key).sum(-1, keepdim=True), query @ queue.T], -1) / 0.2
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long))
    assert instance_nce_loss(query, key, queue, temperature=0.2).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_printed_rank_loss_ranks_the_own_key_and_lacks_the_mean():
    near, far = unit_vectors([0.7, 0.2]), unit_vectors([0.9, 0.4, -0.3])
    own = unit_vectors([0.5])[0]
    loss = printed_rank_loss(ANCHOR, own, near, far, temperature=1e-5)
    # The own key is 2nd among {own} ∪ P and 3rd among all; the two terms of the sum are equal.
    assert loss.item() == pytest.approx(-np.log(2 * 2 / 3))


def test_wrong_shapes_and_temperatures_are_refused():
    with pytest.raises(ConfigError, match="at least one positive"):
        rank_loss(torch.ones(4), torch.ones(0, 4), torch.ones(3, 4))
    with pytest.raises(ConfigError, match="embedding size"):
        mil_nce_loss(torch.ones(4), torch.ones(2, 4), torch.ones(3, 5))
    with pytest.raises(ConfigError, match="above 0"):
        rank_loss(torch.ones(4), torch.ones(2, 4), torch.ones(3, 4), temperature=0)
