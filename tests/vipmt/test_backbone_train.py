"""The few-shot backbone's training: labels, samples, what stays as it was."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.datasets.coco import read_coco
from fewmask.training.settings import TrainSettings
from fewmask.vipmt.backbone import MobileNetV2
from fewmask.vipmt.backbone_train import UNKNOWN, BackboneRecipe, BackboneTask, PixelClassifier
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.start import load_backbone

RECIPE = BackboneRecipe(crop=64, train=TrainSettings(steps=2, batch_size=2, learning_rate=1e-2))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)

    def square(key, image, category, start, end, **extra):
        outline = [[start, start, end, start, end, end, start, end]]
        return {"id": key, "image_id": image, "category_id": category, "segmentation": outline, "iscrowd": 0, **extra}

    images, annotations = [], []
    for key in (1, 2):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(folder / f"{key}.png")
        images.append({"id": key, "file_name": f"{key}.png", "height": 60, "width": 80})
    annotations = [
        square(1, 1, 3, 10, 30), square(2, 1, 5, 0, 40), square(3, 1, 3, 45, 50, unknown=True),
        square(4, 2, 9, 0, 20), square(5, 2, 5, 30, 40, iscrowd=1),
    ]  # fmt: skip
    annotations[4]["segmentation"] = {"size": [60, 80], "counts": [30 * 60 + 30, 10, 60 * 80 - 30 * 60 - 40]}
    categories = [{"id": 3, "name": "cup"}, {"id": 5, "name": "table"}, {"id": 9, "name": "clock"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))
    return read_coco(folder / "instances.json")


def task(dataset):
    torch.manual_seed(0)
    return BackboneTask(RECIPE, PixelClassifier(MobileNetV2(), 4, (3, 4), 0.1), dataset, ["clock"])


def test_labels_of_pixels(dataset):
    first, second = (task(dataset).labels(image) for image in dataset.images)
    assert first[20, 20] == 1  # the cup lies on the table
    assert first[35, 35] == 2
    assert first[47, 47] == UNKNOWN
    assert first[55, 70] == 0
    assert second[10, 10] == UNKNOWN  # held out
    assert second[35, 30] == UNKNOWN  # a crowd
    assert second[55, 70] == 0


def test_a_step_changes_the_deep_blocks_alone_and_the_file_fits_a_few_shot_network(dataset, tmp_path, tiny_config):
    trained = task(dataset)
    before = {name: value.clone() for name, value in trained.network.state_dict().items()}
    optimizer = torch.optim.AdamW(trained.parameter_groups(1e-2, 0.0))
    batch = trained.collate([trained.sample(0), trained.sample(1)])
    trained.loss(batch, torch.device("cpu"))["total"].backward()
    optimizer.step()
    for name, value in trained.network.state_dict().items():
        if name.startswith("backbone.features.") and int(name.split(".")[2]) < RECIPE.first_trained:
            assert torch.equal(value, before[name]), name
        if "running" in name:
            assert torch.equal(value, before[name]), name
    assert not torch.equal(trained.network.directions, before["directions"])
    assert not torch.equal(
        trained.network.backbone.features[14].conv[0][0].weight, before["backbone.features.14.conv.0.0.weight"]
    )
    trained.save(tmp_path)
    network = VIPMTNetwork(tiny_config)
    load_backbone(network, tmp_path / "backbone.safetensors")
    assert torch.equal(
        network.backbone.features[9].conv[0][0].weight, trained.network.backbone.features[9].conv[0][0].weight
    )


def test_samples_depend_on_their_number_alone(dataset):
    first, again = task(dataset).sample(5), task(dataset).sample(5)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[0].shape == (64, 64, 3)
