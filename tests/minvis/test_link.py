"""Exact mode against recorded results of the official post-processing, and its behaviour on edge cases."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewmask.errors import ConfigError
from fewmask.minvis import link_video, match_queries

FIXTURES = Path(__file__).parent / "fixtures"
EDGE = json.loads((FIXTURES / "post_edge.json").read_text())
EDGE_SIZES = {"padded_size": (24, 32), "image_size": (24, 32), "output_size": (24, 32)}


def unpack(bits, shape):
    return np.unpackbits(bits)[: int(np.prod(shape))].reshape(shape).astype(bool)


def near_threshold(mask_logits, permutation, queries, sizes, distance=1e-4):
    """Pixels [N, T, H, W] whose logit is too close to 0 for rounding to be blamed on anyone."""
    from fewmask.minvis.frame_instances import resize_logits

    rows = []
    for t, order in enumerate(permutation):
        logits = torch.from_numpy(mask_logits[t][order[queries]])
        rows.append(resize_logits(logits, sizes["padded_size"], sizes["image_size"], sizes["output_size"]).abs())
    return torch.stack(rows, dim=1).numpy() < distance


@pytest.mark.parametrize("case", ["post_perm", "post_hard", "post_q100"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_equals_the_official_procedure(case, kind):
    z = np.load(FIXTURES / f"{case}.npz")
    masks = z["mask_logits_f16"].astype(np.float32)
    sizes = {name: tuple(int(v) for v in z[name]) for name in ("padded_size", "image_size", "output_size")}
    arrays = (z["logits"], masks, z["embeddings"])
    if kind == "torch":
        arrays = tuple(torch.from_numpy(a) for a in arrays)
    found = link_video(*arrays, **sizes)
    np.testing.assert_array_equal(found.permutation, z["permutation"])
    np.testing.assert_allclose(found.video_logits, z["video_logits"], atol=1e-5)
    np.testing.assert_allclose(found.scores, z["top_scores"], atol=1e-5)
    np.testing.assert_array_equal(found.labels, z["top_labels"])
    np.testing.assert_array_equal(found.queries, z["top_queries"])
    expected = unpack(z["top_masks_packed"], z["top_masks_shape"])
    differ = found.masks != expected
    assert not (differ & ~near_threshold(masks, found.permutation, found.queries, sizes)).any()


@pytest.mark.parametrize("case", sorted(EDGE))
def test_edge_cases_behave_as_described(case):
    z = np.load(FIXTURES / "post_edge.npz")
    logits, masks, embeddings = (z[f"{case}.{name}"] for name in ("logits", "mask_logits", "embeddings"))
    found = link_video(logits, masks, embeddings, **EDGE_SIZES)
    for row in found.permutation:
        assert sorted(row) == list(range(8))
    assert np.isfinite(found.scores).all()
    if EDGE[case]["raises"] is None:
        np.testing.assert_allclose(found.scores, z[f"{case}.top_scores"], atol=1e-5)
    if case in ("single_frame", "exact_reversal", "negated_and_scaled"):
        np.testing.assert_array_equal(found.permutation, z[f"{case}.permutation"])
        np.testing.assert_array_equal(found.labels, z[f"{case}.top_labels"])
        np.testing.assert_array_equal(found.queries, z[f"{case}.top_queries"])
        expected = unpack(z[f"{case}.top_masks_packed"], z[f"{case}.top_masks_shape"])
        assert (found.masks != expected).sum() <= 2


@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_matching_undoes_any_shuffle_and_any_positive_scale(queries, channels, seed):
    random = np.random.default_rng(seed)
    before = random.standard_normal((queries, channels))
    order = random.permutation(queries)
    after = before[order] * random.uniform(0.1, 10, (queries, 1))
    found = match_queries(before, after)
    np.testing.assert_allclose(
        np.einsum("qc,qc->q", before, after[found]),
        np.linalg.norm(before, axis=1) * np.linalg.norm(after[found], axis=1),
    )


def test_matching_of_zero_and_broken_vectors_is_still_a_permutation():
    before = np.eye(4, dtype=np.float32)
    after = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [np.nan, 0, 0, 0], [0, 1, 0, 0]], dtype=np.float32)
    found = match_queries(torch.from_numpy(before), after)
    assert sorted(found.tolist()) == [0, 1, 2, 3]
    assert found[1] == 3
    assert found[3] == 1


def test_half_precision_tensors_are_taken():
    before = torch.eye(5, dtype=torch.bfloat16)
    assert match_queries(before, before.flip(0)).tolist() == [4, 3, 2, 1, 0]


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(ConfigError, match=r"T >= 1"):
        link_video(np.zeros((0, 3, 2)), np.zeros((0, 3, 4, 4)), np.zeros((0, 3, 8)), **EDGE_SIZES)
    with pytest.raises(ConfigError, match=r"\(2, 3, 2\)"):
        link_video(np.zeros((2, 3, 2)), np.zeros((2, 4, 4, 4)), np.zeros((2, 3, 8)), **EDGE_SIZES)
