"""Supervised matching: the hinge by brute force, pairs of frames in one view, and that it teaches association."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from square_data import TINY

from fewmask.datasets.coco import read_coco
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import ConfigError
from fewmask.minvis.matching_loss import MARGIN, matching_loss, shared_objects
from fewmask.minvis.train import MinvisRecipe, MinvisTask
from fewmask.minvis.training_data import coco_data, ytvis_data
from fewmask.pipelines.train import train_minvis
from fewmask.pipelines.train_request import TrainRequest

PAIRED = TINY.replace("hold_out = 4", "matching_range = 2").replace("turn = 0.0", "turn = 0.0\npaste = 0.0")


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_hinge_by_brute_force(seed, queries, objects):
    random = np.random.default_rng(seed)
    first, second = (torch.from_numpy(random.standard_normal((queries, 5))).float() for _ in range(2))
    objects = min(objects, queries)
    pairs = list(
        zip(random.permutation(queries)[:objects].tolist(), random.permutation(queries).tolist(), strict=False)
    )
    unit = [vectors / vectors.norm(dim=1, keepdim=True) for vectors in (first, second)]
    losses = []
    for a, b in pairs:
        right = float(unit[0][a] @ unit[1][b])
        wrong_b = max(float(unit[0][a] @ unit[1][j]) for j in range(queries) if j != b)
        wrong_a = max(float(unit[0][j] @ unit[1][b]) for j in range(queries) if j != a)
        losses += [max(0.0, MARGIN + wrong_b - right), max(0.0, MARGIN + wrong_a - right)]
    expected = float(np.mean(losses)) if losses else 0.0
    assert float(matching_loss(first, second, pairs)) == pytest.approx(expected, abs=1e-5)


def test_shared_objects_are_those_that_both_frames_show():
    matches = [
        (torch.tensor([0, 3, 5]), torch.tensor([2, 0, 1])),
        (torch.tensor([1, 4]), torch.tensor([1, 0])),
    ]
    assert sorted(shared_objects(((70, 80, 90), (90, 70)), matches)) == [(0, 4), (3, 1)]


def task_of(videos, **changes):
    values = {
        "network": {"backbone": "timm:mobilenetv3_small_050", "queries": 4, "width": 32, "encoder_layers": 1,
                    "decoder_layers": 1, "feedforward": 32},
        "sizes": [[64, 64]], "points": 64, "matching_range": 3, "train": {"steps": 4, "batch_size": 2},
        "augmentation": {"paste": 0.0, "scale": [0.9, 1.1]},
    }  # fmt: skip
    data = ytvis_data(read_ytvis(videos / "instances.json"), videos / "JPEGImages", class_agnostic=True)
    return MinvisTask(MinvisRecipe.model_validate(values | changes), data)


def test_a_pair_is_of_one_video_within_range_in_one_view(videos):
    task = task_of(videos)
    for number in range(12):
        one, two = task.sample(number)
        shared = set(one.identities) & set(two.identities)
        assert len(set(one.identities)) == len(one.identities) == len(one.frame.masks)
        assert {identity // 2 for identity in one.identities + two.identities} in ({1}, {2}, {3}, {4})
        for identity in shared:
            boxes = [np.argwhere(view.frame.masks[view.identities.index(identity)]).mean(0) for view in (one, two)]
            # The squares move a pixel a frame, and views are at most twice as large.
            assert np.abs(boxes[0] - boxes[1]).max() <= 3 * 2 + 1


def test_the_hinge_falls_in_training(videos, tmp_path):
    lines = []
    (tmp_path / "paired.toml").write_text(PAIRED.replace("steps = 12", "steps = 16"))
    train_minvis(
        TrainRequest(tmp_path / "paired.toml", tmp_path / "run", report=lines.append), videos / "instances.json"
    )
    assert lines[-1].losses["matching"] < lines[0].losses["matching"]


def test_data_without_identities_and_impossible_recipes_are_refused(squares, tmp_path):
    (tmp_path / "paired.toml").write_text(PAIRED)
    with pytest.raises(ConfigError, match="single pictures"):
        train_minvis(TrainRequest(tmp_path / "paired.toml", tmp_path / "run"), squares / "instances.json")
    base = {"train": {"steps": 4, "batch_size": 2}}
    for changes, message in (
        ({"matching_range": 1}, "paste"),
        ({"matching_range": 1, "augmentation": {"paste": 0.0}, "frames": 0.1}, "frames must be 1"),
        ({"short_sides": [360]}, "paste"),
        ({"sizes": [[100, 64]]}, "multiples of 32"),
        ({"calm_after": 4}, "calm_after"),
    ):
        with pytest.raises(ValidationError, match=message):
            MinvisRecipe.model_validate(base | changes)
    assert coco_data(read_coco(squares / "instances.json"), class_agnostic=True).videos[0][0].identities == ()
