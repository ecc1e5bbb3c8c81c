"""The paper's proposal network: where it starts from, and the verb that makes it."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import resnet50
from torchvision.models.detection import maskrcnn_resnet50_fpn

from fewmask.datasets.coco import read_coco
from fewmask.errors import CheckpointError
from fewmask.mining.maskrcnn import MaskRcnnProposals, class_agnostic_maskrcnn
from fewmask.mining.maskrcnn_initial import load_initial
from fewmask.mining.maskrcnn_train import MaskRcnnRecipe, MaskRcnnTask
from fewmask.pipelines.train import train_maskrcnn
from fewmask.pipelines.train_request import TrainRequest

RECIPES = Path(__file__).parents[2] / "recipes" / "mining"
TINY = """
short_side = 64
[train]
steps = 1
batch_size = 1
learning_rate = 1e-5
clip_norm = 1.0
"""


def save(state, path):
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def test_an_imagenet_backbone_fills_the_backbone_alone(tmp_path):
    body, network = resnet50(weights=None), class_agnostic_maskrcnn()
    head = network.roi_heads.box_head.fc6.weight.clone()
    anew = load_initial(network, save(body.state_dict(), tmp_path / "resnet50.safetensors"))
    assert torch.equal(network.backbone.body.layer3[2].conv2.weight, body.layer3[2].conv2.weight)
    assert torch.equal(network.roi_heads.box_head.fc6.weight, head)
    assert "roi_heads.box_head.fc6" in anew
    assert not any(name.startswith("backbone.body") for name in anew)


def test_of_many_classes_the_last_layers_start_anew(tmp_path):
    source = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=5)
    network = class_agnostic_maskrcnn()
    anew = load_initial(network, save(source.state_dict(), tmp_path / "coco.safetensors"))
    assert anew == [
        "roi_heads.box_predictor.bbox_pred",
        "roi_heads.box_predictor.cls_score",
        "roi_heads.mask_predictor.mask_fcn_logits",
    ]
    assert torch.equal(network.roi_heads.box_head.fc6.weight, source.roi_heads.box_head.fc6.weight)
    again = class_agnostic_maskrcnn()
    assert load_initial(again, save(network.state_dict(), tmp_path / "own.safetensors")) == []
    assert torch.equal(again.roi_heads.box_predictor.cls_score.weight, network.roi_heads.box_predictor.cls_score.weight)


def test_another_networks_weights_are_refused(tmp_path):
    path = save({"layer1.0.conv1.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"other\.safetensors: no fitting tensor"):
        load_initial(class_agnostic_maskrcnn(), path)


@pytest.fixture
def squares(tmp_path):
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for key in (1, 2):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{key}.png")
        images.append({"id": key, "file_name": f"{key}.png", "height": 64, "width": 64, "whole": key == 1})
        outline = [[10, 10, 40, 10, 40, 40, 10, 40]]
        annotations.append({"id": key, "image_id": key, "category_id": 1, "segmentation": outline, "iscrowd": 0})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "instances.json").write_text(json.dumps(document))
    return tmp_path / "instances.json"


def test_from_nothing_the_norms_learn_and_from_weights_they_keep_their_statistics(squares):
    recipe = MaskRcnnRecipe.model_validate(tomllib.loads(TINY))
    for frozen in (True, False):
        task = MaskRcnnTask(recipe, class_agnostic_maskrcnn(short_side=64), [read_coco(squares)], frozen_norms=frozen)
        norm = task.network.train().backbone.body.bn1
        assert norm.training is not frozen
        assert norm.weight.requires_grad is not frozen


def test_the_verb_makes_proposals_from_nothing(squares, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    request = TrainRequest(tmp_path / "tiny.toml", tmp_path / "run", device="cpu")
    train_maskrcnn(request, squares, require="whole")
    masks, scores = MaskRcnnProposals(tmp_path / "run" / "weights" / "model.safetensors", short_side=64).propose(
        np.zeros((64, 64, 3), np.uint8)
    )
    assert len(masks) == len(scores)


@pytest.mark.parametrize("name", ["maskrcnn_paper", "maskrcnn_small", "refine_maskrcnn"])
def test_recipes_are_valid(name):
    MaskRcnnRecipe.model_validate(tomllib.loads((RECIPES / f"{name}.toml").read_text()))
