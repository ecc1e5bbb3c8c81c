"""The background network: shapes, files, what it learns, and what its training samples are."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fewmask.datasets.coco import read_coco
from fewmask.errors import CheckpointError, DatasetError
from fewmask.mining.background_initial import load_initial
from fewmask.mining.background_net import BackgroundNet, BackgroundNetConfig
from fewmask.mining.background_train import UNKNOWN, BackgroundRecipe, BackgroundTask, evaluate, foreground_map, picture
from fewmask.training.settings import TrainSettings

TINY = BackgroundNetConfig(backbone="mobilenetv2_035", width=16, short_side=64)
RECIPE = BackgroundRecipe(
    network=TINY, crop=64, frozen=("conv_stem",), settings=TrainSettings(steps=30, batch_size=4, learning_rate=3e-3)
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Red discs on green: an easy foreground."""
    folder = tmp_path_factory.mktemp("discs")
    (folder / "images").mkdir()
    images, annotations = [], []
    rng = np.random.default_rng(0)
    for i in range(1, 5):
        bgr = np.full((72, 96, 3), (40, 160, 40), np.uint8)
        x, y = int(rng.integers(25, 70)), int(rng.integers(25, 45))
        cv2.circle(bgr, (x, y), 18, (30, 30, 220), -1)
        cv2.imwrite(str(folder / "images" / f"{i}.png"), bgr)
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        outline = np.stack([x + 18 * np.cos(angles), y + 18 * np.sin(angles)], 1).ravel().tolist()
        images.append({"id": i, "file_name": f"{i}.png", "height": 72, "width": 96})
        annotations.append({"id": i, "image_id": i, "category_id": 1, "segmentation": [outline], "iscrowd": 0})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "disc"}]}
    (folder / "instances.json").write_text(json.dumps(document))
    return read_coco(folder / "instances.json")


def test_bundled_weights_tell_probabilities_at_the_size_of_the_frame():
    network = BackgroundNet.from_pretrained()
    rgb = np.random.default_rng(0).integers(0, 255, (50, 71, 3), dtype=np.uint8)
    background = network.background(rgb)
    assert background.shape == (50, 71)
    assert background.dtype == np.float32
    assert 0 <= background.min() <= background.max() <= 1
    np.testing.assert_array_equal(background, network.background(rgb))


def test_save_and_load(tmp_path):
    torch.manual_seed(0)
    network = BackgroundNet(TINY).eval()
    rgb = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    network.save_pretrained(tmp_path / "whole.safetensors")
    np.testing.assert_array_equal(
        BackgroundNet.from_pretrained(tmp_path / "whole.safetensors").background(rgb), network.background(rgb)
    )
    network.save_pretrained(tmp_path / "half.safetensors", half=True)
    half = BackgroundNet.from_pretrained(tmp_path / "half.safetensors").background(rgb)
    np.testing.assert_allclose(half, network.background(rgb), atol=0.02)


def test_files_that_are_no_background_network(tmp_path):
    with pytest.raises(CheckpointError, match="fewmask train background"):
        BackgroundNet.from_pretrained(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        BackgroundNet.from_pretrained(tmp_path / "bad.safetensors")


def test_samples_depend_on_their_number_alone(dataset):
    task = BackgroundTask(BackgroundNet(TINY), RECIPE, dataset)
    first, again = task.sample(7), task.sample(7)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    rgb, labels = first
    assert rgb.shape == (64, 64, 3)
    assert set(np.unique(labels)) <= {0, 1, 255}
    assert not np.array_equal(rgb, task.sample(8)[0])


def test_frozen_parameters_stay_and_the_rest_has_its_rate(dataset):
    task = BackgroundTask(BackgroundNet(TINY), RECIPE, dataset)
    groups = task.parameter_groups(1.0, 0.1)
    assert [group["lr"] for group in groups] == [1.0, 0.3]
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for name, parameter in task.network.named_parameters():
        assert (id(parameter) in trained) == (not name.startswith("backbone.conv_stem"))


def test_what_is_marked_unknown_teaches_nothing(dataset):
    image, *_ = dataset.images
    (annotation,) = dataset.annotations_of[image.id]
    unsure = replace(annotation, extra={"unknown": True})
    sure = replace(annotation, id=99, segmentation=[[0, 0, 10, 0, 10, 10, 0, 10]])
    marked = replace(dataset, images=(image,), annotations=(unsure, sure))
    labels, before = foreground_map(marked, image), foreground_map(dataset, image)
    assert (labels[before == 1] == UNKNOWN).all()
    assert labels[2:8, 2:8].all()
    assert (labels == 0).sum() == (before == 0).sum() - (labels == 1).sum()
    assert evaluate(BackgroundNet(TINY), marked).cross_entropy > 0


def test_it_starts_from_an_earlier_one_or_from_a_backbone(tmp_path):
    torch.manual_seed(0)
    first, second = BackgroundNet(TINY), BackgroundNet(TINY)
    first.save_pretrained(tmp_path / "first.safetensors")
    load_initial(second, tmp_path / "first.safetensors")
    for name, value in second.state_dict().items():
        assert torch.equal(value, first.state_dict()[name]), name
    save_file(first.backbone.state_dict(), tmp_path / "body.safetensors")
    third = BackgroundNet(TINY)
    head = third.logit.weight.clone()
    load_initial(third, tmp_path / "body.safetensors")
    assert torch.equal(third.backbone.conv_stem.weight, first.backbone.conv_stem.weight)
    assert torch.equal(third.logit.weight, head)
    other = BackgroundNet(TINY.model_copy(update={"width": 8}))
    with pytest.raises(CheckpointError, match=r"first\.safetensors: not the weights of this background network"):
        load_initial(other, tmp_path / "first.safetensors")
    with pytest.raises(CheckpointError, match=r"not the weights of this tiny_vit_5m|not a MobileSAM checkpoint"):
        load_initial(BackgroundNet(TINY.model_copy(update={"backbone": "tiny_vit_5m"})), tmp_path / "body.safetensors")


def test_torchvisions_mobilenet_is_understood(tmp_path):
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    body = mobilenet_v2(weights=None).eval()
    save_file(body.state_dict(), tmp_path / "mobilenet.safetensors")
    network = BackgroundNet(BackgroundNetConfig(backbone="mobilenetv2_100", width=8)).eval()
    load_initial(network, tmp_path / "mobilenet.safetensors")
    picture = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.backbone(picture)[-1], body.features[:18](picture))


def test_mobile_sams_encoder_makes_a_network_of_the_frames_size():
    network = BackgroundNet(BackgroundNetConfig(backbone="tiny_vit_5m", width=16, short_side=64)).eval()
    rgb = np.random.default_rng(0).integers(0, 255, (48, 70, 3), dtype=np.uint8)
    assert network.background(rgb).shape == (48, 70)


def test_it_learns_red_from_green(dataset):
    torch.manual_seed(0)
    task = BackgroundTask(BackgroundNet(TINY), RECIPE, dataset, dataset)
    before = evaluate(task.network, dataset)
    groups = task.parameter_groups(3e-3, 0.0)
    optimizer = torch.optim.AdamW(groups)
    task.network.train()
    for step in range(30):
        losses = task.loss(task.collate([task.sample(4 * step + i) for i in range(4)]), torch.device("cpu"))
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
    figures = task.validate()
    assert figures["cross_entropy"] < 0.5 * before.cross_entropy
    assert figures["foreground_iou"] > 0.5


def test_pictures_that_are_not_as_the_file_says(dataset, tmp_path):
    assert foreground_map(dataset, dataset.images[0]).sum() == pytest.approx(np.pi * 18**2, rel=0.05)
    gone = dataset.images[0].__class__(99, "gone.png", 72, 96)
    with pytest.raises(DatasetError):
        picture(dataset, gone)
    wrong = dataset.images[0].__class__(1, "1.png", 10, 10)
    with pytest.raises(DatasetError):
        picture(dataset, wrong)


@pytest.mark.parametrize("size", [(1, 200), (200, 1), (2, 20_000), (40, 50)])
def test_slivers_take_no_more_than_pictures(size):
    seen = []
    network = BackgroundNet(TINY).eval()
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
    background = network.background(np.zeros((*size, 3), np.uint8))
    assert background.shape == size
    assert max(seen[0]) <= 8 * 64
