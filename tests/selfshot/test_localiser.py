"""Temporal localisation: matching against all assignments, losses, and a network that learns what its supports show."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.datasets.synth_actions import support_video
from fewmask.errors import ConfigError, DatasetError
from fewmask.metrics.temporal_precision import temporal_ap
from fewmask.selfshot.localiser import ActionLocaliser, LocaliserConfig, StretchPrediction
from fewmask.selfshot.localiser_losses import (
    FOREGROUND,
    L1,
    OVERLAP,
    StretchTargets,
    match_stretches,
    span_giou,
    stretch_losses,
)
from fewmask.selfshot.localiser_train import ActionQuery, LocaliserTask, localise
from fewmask.selfshot.motion_features import FEATURES, SNIPPET, motion_rows
from fewmask.training.loop import train
from fewmask.training.settings import TrainSettings

SMALL = {"width": 24, "heads": 2, "feed_forward": 32, "encoder_layers": 1, "decoder_layers": 1, "slots": 4}


def plain_giou(a, b):
    a, b = (a[0] - a[1] / 2, a[0] + a[1] / 2), (b[0] - b[1] / 2, b[0] + b[1] / 2)
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = a[1] - a[0] + b[1] - b[0] - shared
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return shared / union - (hull - union) / hull


@pytest.mark.parametrize("seed", range(5))
def test_matching_is_the_cheapest_of_all(seed):
    torch.manual_seed(seed)
    slots, stretches = 5, 3
    prediction = StretchPrediction(torch.randn(slots), torch.rand(slots, 2) * 0.8 + 0.1, torch.zeros(4))
    spans = torch.rand(stretches, 2) * 0.8 + 0.1

    def cost(slot, stretch):
        a, b = prediction.spans[slot].tolist(), spans[stretch].tolist()
        distance = (abs(a[0] - b[0]) + abs(a[1] - b[1])) / 2
        return L1 * distance - OVERLAP * plain_giou(a, b) - FOREGROUND * float(prediction.logits[slot].sigmoid())

    found = match_stretches(prediction, spans)
    total = sum(cost(*pair) for pair in zip(*(part.tolist() for part in found), strict=True))
    best = min(
        sum(cost(slot, stretch) for stretch, slot in enumerate(chosen))
        for chosen in itertools.permutations(range(slots), stretches)
    )
    assert total == pytest.approx(best, abs=1e-4)


def test_giou_equals_the_plain_one():
    torch.manual_seed(0)
    a, b = torch.rand(6, 2) + 0.05, torch.rand(7, 2) + 0.05
    plain = [[plain_giou(x, y) for y in b.tolist()] for x in a.tolist()]
    assert torch.allclose(span_giou(a, b), torch.tensor(plain), atol=1e-4)


def test_rows_that_a_stretch_covers():
    targets = StretchTargets.of(torch.tensor([[0.0, 0.25], [0.6, 0.9]]), 8)
    assert targets.rows.tolist() == [True, True, False, False, False, True, True, False]
    assert torch.allclose(targets.spans, torch.tensor([[0.125, 0.25], [0.75, 0.3]]))


def test_a_perfect_answer_costs_next_to_nothing():
    targets = StretchTargets.of(torch.tensor([[0.2, 0.5]]), 10)
    sure = torch.where(targets.rows, 20.0, -20.0)
    spans = torch.tensor([[0.9, 0.1], [0.35, 0.3]])
    losses = stretch_losses(StretchPrediction(torch.tensor([-20.0, 20.0]), spans, sure), targets)
    assert float(losses["total"]) < 1e-3
    wrong = stretch_losses(StretchPrediction(torch.tensor([20.0, -20.0]), spans, sure), targets)
    assert float(wrong["class"]) > 1


def test_no_true_stretch_teaches_that_there_is_none():
    targets = StretchTargets(torch.zeros(0, 2), torch.zeros(6, dtype=torch.bool))
    logits = torch.zeros(3, requires_grad=True)
    losses = stretch_losses(StretchPrediction(logits, torch.rand(3, 2), torch.zeros(6)), targets)
    losses["total"].backward()
    assert torch.isfinite(losses["total"])
    assert (logits.grad > 0).all()


def test_stretches_that_are_one_are_told_once():
    class Fixed:
        def __call__(self, query, supports):
            spans = torch.tensor([[0.5, 0.4], [0.52, 0.4], [0.1, 0.1]])
            return StretchPrediction(torch.tensor([0.0, 1.0, -1.0]), spans, torch.zeros(5))

    found = localise(Fixed(), torch.zeros(5, 3), [])
    assert [(round(s.start, 2), round(s.end, 2)) for s in found] == [(0.32, 0.72), (0.05, 0.15)]


def test_supports_are_wanted_and_widths_checked():
    with pytest.raises(ConfigError, match="width 25"):
        ActionLocaliser(LocaliserConfig(features=5, width=25))
    network = ActionLocaliser(LocaliserConfig(features=5, **SMALL))
    with pytest.raises(ConfigError, match="support"):
        network(torch.zeros(6, 5), [])
    blind = ActionLocaliser(LocaliserConfig(features=5, fuser_layers=0, likeness=False, **SMALL)).eval()
    assert torch.equal(blind(torch.ones(6, 5), []).spans, blind(torch.ones(6, 5), [torch.rand(3, 5)]).spans)


def test_motion_rows_tell_programs_apart():
    def rows(program, seed):
        return motion_rows(list(support_video("s", program, seed, frames=36).frames))

    programs = ("fast_shake", "fast_nod", "fast_spin", "slow_pulse")
    table = np.stack([rows(p, seed).mean(0) for p in programs for seed in (1, 2, 3)])
    assert rows("fast_shake", 1).shape == (36 // SNIPPET, FEATURES)
    scaled = (table - table.mean(0)) / (table.std(0) + 1e-6)
    away = ((scaled[:, None] - scaled[None]) ** 2).sum(2) + np.eye(len(table)) * 1e9
    right = [away[i].argmin() // 3 == i // 3 for i in range(len(table))]
    assert sum(right) >= 10, right  # chance: 2


def made_queries(classes, count, seed):
    """Rows in which a class is a direction in eight dimensions; two classes take place, one is asked for."""
    chance = np.random.default_rng(seed)
    queries = []
    for _ in range(count):
        label, other = chance.choice(classes, 2, replace=False).tolist()
        rows = chance.normal(0, 0.3, (24, 8))
        wanted = int(chance.integers(0, 2)) * 12 + int(chance.integers(0, 4))
        strange = (wanted + 12) % 24 if (wanted + 12) % 24 < 17 else 0
        rows[wanted : wanted + 7, label] += 3
        rows[strange : strange + 7, other] += 3
        queries.append(ActionQuery(torch.tensor(rows).float(), str(label), ((wanted / 24, (wanted + 7) / 24),)))
    return queries


def clip(label, chance):
    rows = chance.normal(0, 0.3, (6, 8))
    rows[:, int(label)] += 3
    return torch.tensor(rows).float()


def test_learns_to_find_what_its_supports_show_on_classes_it_has_not_seen(tmp_path: Path):
    torch.set_num_threads(1)
    chance = np.random.default_rng(0)
    supports = {str(label): [clip(label, chance) for _ in range(4)] for label in range(5)}
    settings = TrainSettings(
        steps=220, batch_size=8, learning_rate=2e-3, clip_norm=1.0, schedule="cosine", checkpoint_every=10**6
    )
    task = LocaliserTask(
        LocaliserConfig(features=8, **SMALL), settings, made_queries(range(5), 120, 1), supports, shots=2
    )
    train(task, settings, tmp_path, device=torch.device("cpu"))
    assert (tmp_path / "weights" / "localiser.json").exists()
    network = task.network.eval()
    queries = made_queries(range(5, 8), 40, 2)
    truth = {str(i): query.stretches for i, query in enumerate(queries)}

    def ap(shown):
        found = {
            str(i): localise(network, query.rows, [clip(shown(query.label), chance)]) for i, query in enumerate(queries)
        }
        return temporal_ap(found, truth, (0.5,))[0]

    right, wrong = ap(lambda label: label), ap(lambda label: (int(label) - 4) % 3 + 5)
    assert right > 0.3, (right, wrong)
    assert right > 3 * wrong, (right, wrong)


def test_nothing_to_learn_on_is_refused():
    settings = TrainSettings(steps=1, batch_size=1)
    with pytest.raises(DatasetError, match="support clip"):
        LocaliserTask(LocaliserConfig(features=8, **SMALL), settings, made_queries(range(5), 3, 0), {})
