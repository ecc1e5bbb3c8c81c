"""Parity of matching costs, losses and gradients with recorded reference values at given points."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.models.set_criterion import (
    CriterionSettings,
    InstanceTargets,
    QueryPrediction,
    SeededPoints,
    SetCriterion,
)

FIXTURES = Path(__file__).parent / "fixtures" / "mask2former_train"
CASES = json.loads((FIXTURES / "expected.json").read_text())
LAYERS = {"basic": ["final", "aux0"], "one_empty_image": ["final"], "crowded": ["final"]}


class RecordedPoints:
    """Replays recorded points in the order in which they were recorded, image by image."""

    def __init__(self, arrays, layers, images):
        self.queue = defaultdict(list)
        for layer in layers:
            start = 0
            for image in range(images):
                self.queue[image].append(torch.from_numpy(arrays[f"{layer}.match_points{image}"])[None])
                n = len(arrays[f"{layer}.match_query{image}"])
                if n:
                    self.queue[image].append(torch.from_numpy(arrays[f"{layer}.candidate_points"][start : start + n]))
                    self.queue[image].append(torch.from_numpy(arrays[f"{layer}.random_points"][start : start + n]))
                start += n

    def __call__(self, image, count, points):
        recorded = self.queue[image].pop(0)
        assert recorded.shape == (count, points, 2)
        return recorded


def load(case):
    arrays = dict(np.load(FIXTURES / f"{case}.npz"))
    targets = []
    while f"target{len(targets)}.labels" in arrays:
        b = len(targets)
        shape = tuple(arrays[f"target{b}.masks_shape"])
        bits = np.unpackbits(arrays[f"target{b}.masks_packed"])[: int(np.prod(shape))].reshape(shape)[:, 0]
        targets.append(InstanceTargets(torch.from_numpy(arrays[f"target{b}.labels"]), torch.from_numpy(bits).bool()))
    layers = [
        QueryPrediction(
            torch.from_numpy(arrays[f"{layer}.pred_logits"]).requires_grad_(),
            torch.from_numpy(arrays[f"{layer}.pred_masks"][:, :, 0]).requires_grad_(),
        )
        for layer in LAYERS[case]
    ]
    e = CASES[case]
    criterion = SetCriterion(
        e["K"],
        CriterionSettings(
            points=e["num_points"], oversample=e["oversample_ratio"], uncertain_share=e["importance_ratio"]
        ),
    )
    return arrays, targets, layers, criterion


@pytest.mark.parametrize("case", LAYERS)
def test_costs_and_assignment_equal_the_reference(case):
    arrays, targets, layers, criterion = load(case)
    points = RecordedPoints(arrays, LAYERS[case], len(targets))
    for name, layer in zip(LAYERS[case], layers, strict=True):
        for image, target in enumerate(targets):
            first = points.queue[image][0]
            cost = criterion.matching_cost(layer, image, target, lambda *_, first=first: first)
            np.testing.assert_allclose(cost.numpy(), arrays[f"{name}.cost{image}"], atol=1e-4)
        for image, (queries, indices) in enumerate(criterion.match(layer, targets, points)):
            assert queries.tolist() == arrays[f"{name}.match_query{image}"].tolist()
            assert indices.tolist() == arrays[f"{name}.match_target{image}"].tolist()
            if len(queries):
                del points.queue[image][:2]  # the loss's points of this layer


@pytest.mark.parametrize("case", LAYERS)
def test_losses_and_gradients_equal_the_reference(case):
    arrays, targets, layers, criterion = load(case)
    losses = criterion(layers, targets, RecordedPoints(arrays, LAYERS[case], len(targets)))
    expected = CASES[case]["losses_unweighted"]
    for ours, theirs in (("class", "loss_ce"), ("mask", "loss_mask"), ("dice", "loss_dice")):
        wanted = sum(value for key, value in expected.items() if key.startswith(theirs))
        assert losses[ours].item() == pytest.approx(wanted, rel=1e-5)
    assert losses["total"].item() == pytest.approx(CASES[case]["total_weighted"], rel=1e-5)
    losses["total"].backward()
    for name, layer in zip(LAYERS[case], layers, strict=True):
        np.testing.assert_allclose(layer.class_logits.grad.numpy(), arrays[f"{name}.grad_logits"], atol=1e-6)
        np.testing.assert_allclose(layer.mask_logits.grad.numpy(), arrays[f"{name}.grad_masks"][:, :, 0], atol=1e-6)


def test_images_without_instances_train_only_the_class_head():
    arrays = dict(np.load(FIXTURES / "all_images_empty.npz"))
    logits = torch.from_numpy(arrays["final.pred_logits"]).requires_grad_()
    masks = torch.from_numpy(arrays["final.pred_masks"][:, :, 0]).requires_grad_()
    empty = InstanceTargets(torch.zeros(0, dtype=torch.long), torch.zeros(0, 8, 8, dtype=torch.bool))
    criterion = SetCriterion(logits.shape[-1] - 1, CriterionSettings(points=64))
    points = SeededPoints(range(len(logits)), torch.device("cpu"))
    losses = criterion([QueryPrediction(logits, masks)], [empty] * len(logits), points)
    assert losses["class"].item() == pytest.approx(CASES["all_images_empty"]["losses_unweighted"]["loss_ce"], rel=1e-5)
    assert losses["mask"].item() == losses["dice"].item() == 0
    losses["total"].backward()
    assert torch.count_nonzero(masks.grad) == 0
    assert torch.count_nonzero(logits.grad) > 0
