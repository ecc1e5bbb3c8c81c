"""Mined masks train the network that proposed them: both strategies, rounds, resuming, what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mining_red_square import write_video
from square_data import write_pictures

from fewmask.datasets.coco import read_coco
from fewmask.errors import DatasetError, FewmaskError
from fewmask.mining.maskrcnn import MaskRcnnProposals, class_agnostic_maskrcnn
from fewmask.mining.maskrcnn_train import MaskRcnnRecipe
from fewmask.minvis.architecture import Architecture, build
from fewmask.minvis.dense.recipe import DenseRecipe
from fewmask.minvis.pretrained import load_weights, save_small
from fewmask.minvis.train import MinvisRecipe
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.pipelines.mine import run_mine
from fewmask.pipelines.mine_request import MineRequest
from fewmask.pipelines.recipes import read_recipe
from fewmask.pipelines.refine import (
    DENSE_RECIPE,
    MASK_RCNN_RECIPE,
    RECIPE,
    RefineRequest,
    check_refinable,
    run_refine,
    training_mix,
)

TINY = Architecture(
    backbone="timm:mobilenetv3_small_050", queries=6, width=32, encoder_layers=1, decoder_layers=1, feedforward=32
)
SHORT = """
sizes = [[64, 64]]
points = 64
[train]
steps = 3
batch_size = 2
learning_rate = 1e-3
log_every = 1
checkpoint_every = 2
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    torch.manual_seed(0)
    save_small(build(TINY), TINY, folder, categories=["object"], short_side=64)
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("squares")) / "instances.json"


# By its scores and background map a random network's masks would all be left out: select what holds still instead.
SETTINGS = {"keep_every": 2, "weight_background": 0, "weight_flow": 0, "score_threshold": 0}


@pytest.fixture
def mined(weights, tmp_path):
    video = write_video(tmp_path / "clip", 4)
    request = MineRequest(
        [str(video)], tmp_path / "out", weights=str(weights), workers=1, device="cpu", settings=SETTINGS
    )
    run_mine(request)
    (tmp_path / "recipe.toml").write_text(SHORT)
    return request


def test_retraining_in_two_rounds(mined, labelled, weights, tmp_path):
    lines = []
    request = RefineRequest("retrain", labelled=labelled, hold_out=4, rounds=2, recipe=tmp_path / "recipe.toml")
    rounds = run_refine(mined, request, lambda number, line: lines.append((number, line.step)))
    assert lines == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert [done.number for done in rounds] == [1, 2]
    for done in rounds:
        assert {"AP", "AP50", "AP75"} <= set(done.before) & set(done.after)
    assert rounds[1].before == pytest.approx(rounds[0].after, abs=0.02)  # half precision on disk between the rounds
    assert read_coco(tmp_path / "out" / "refined" / "round-2" / "dataset" / "instances.json").images
    first, second = build(TINY), build(TINY)
    load_weights(first, weights / "model.safetensors")
    load_weights(second, rounds[1].weights / "model.safetensors")
    assert any((a != b).any() for a, b in zip(first.parameters(), second.parameters(), strict=True))
    again = run_refine(replace(mined, resume=True), request)
    assert again == rounds


def test_finetuning_needs_no_labels_and_prefers_what_was_reviewed(mined, tmp_path):
    dataset = json.loads((tmp_path / "out" / "instances.json").read_text())
    dataset["annotations"] = dataset["annotations"][:1]
    (tmp_path / "out" / "instances.reviewed.json").write_text(json.dumps(dataset))
    done = run_refine(mined, RefineRequest(recipe=tmp_path / "recipe.toml", steps=1))[0]
    assert done.masks == 1
    assert not done.before
    assert (done.weights / "model.safetensors").exists()


def test_the_mix(mined, labelled):
    source = read_coco(mined.out / "instances.json", mined.out / "images")
    squares = read_coco(labelled)
    alone = training_mix(source, squares, RefineRequest("finetune", labelled=labelled, hold_out=4))
    mixed = training_mix(source, squares, RefineRequest("retrain", labelled=labelled, hold_out=4))
    assert len(alone.videos) == len(source.images)
    assert len(mixed.videos) == len(source.images) + 9  # of twelve pictures three are held out
    assert alone.categories == ("object",)
    with pytest.raises(DatasetError, match="no mask was mined"):
        training_mix(replace(source, annotations=()), None, RefineRequest())


@pytest.mark.slow
def test_the_papers_network(labelled, tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "mp_rcnn.pth"
    torch.save(class_agnostic_maskrcnn().state_dict(), weights)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("short_side = 64\n[train]\nsteps = 2\nbatch_size = 2\nlearning_rate = 1e-4\nlog_every = 1\n")
    out = tmp_path / "out"
    shutil.copytree(labelled.parent, out)  # stands for what was mined
    mined = MineRequest(["v.mp4"], out, proposals="maskrcnn", weights=str(weights), device="cpu")
    lines = []
    request = RefineRequest("retrain", labelled=labelled, hold_out=6, recipe=recipe)
    done = run_refine(mined, request, lambda _, line: lines.append(line.losses))[0]
    assert {"AP50", "AR3"} <= set(done.before) & set(done.after)
    assert {"loss_mask", "loss_objectness", "total"} <= set(lines[0])
    before, after = read_checkpoint(weights), read_checkpoint(done.weights)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert "roi_heads.mask_predictor.mask_fcn_logits.weight" in changed
    assert not any(".bn" in name or "running" in name for name in changed)  # norms are frozen
    masks, scores = MaskRcnnProposals(done.weights, short_side=64).propose(np.zeros((64, 64, 3), np.uint8))
    assert len(masks) == len(scores)


def test_recipes_on_disk_are_the_built_in_ones():
    folder = Path(__file__).parents[2] / "recipes" / "mining"
    assert read_recipe(folder / "refine_minvis.toml", MinvisRecipe) == RECIPE
    assert read_recipe(folder / "refine_dense.toml", DenseRecipe) == DENSE_RECIPE
    paper = read_recipe(folder / "refine_maskrcnn.toml", MaskRcnnRecipe)
    assert paper.train == MASK_RCNN_RECIPE.train.model_copy(update={"batch_size": 16})


@pytest.mark.parametrize(
    ("mined_changes", "changes", "message"),
    [
        ({"proposals": "sam"}, {}, "cannot be refined"),
        ({}, {"strategy": "magic"}, "finetune or retrain"),
        ({}, {"strategy": "retrain"}, "--labelled"),
        ({}, {"rounds": 0}, "rounds 0"),
        ({}, {"labelled": Path("none.json")}, "none.json: no such file"),
        ({"proposals": "maskrcnn"}, {"recipe": Path("none.toml")}, "none.toml: cannot be read"),
    ],
)
def test_what_is_refused(mined_changes, changes, message, tmp_path):
    mined = replace(MineRequest(["v.mp4"], tmp_path / "out"), **mined_changes)
    with pytest.raises(FewmaskError, match=message):
        check_refinable(mined, replace(RefineRequest(), **changes))
    assert not (tmp_path / "out").exists()
