"""What a training starts from: bundled weights with another class head, a Mask2Former of transformers, refusals."""

import json

import numpy as np
import pytest
import torch
from square_data import TINY
from transformers import (
    AutoModelForUniversalSegmentation,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    ResNetConfig,
    SwinConfig,
)

from fewmask.datasets.coco import read_coco
from fewmask.errors import CheckpointError, ConfigError
from fewmask.minvis.architecture import Architecture
from fewmask.minvis.pretrained import load_small, read_architecture
from fewmask.minvis.start import start
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.train import MinvisRecipe, MinvisTask
from fewmask.minvis.training_data import coco_data
from fewmask.pipelines.train import train_minvis
from fewmask.pipelines.train_request import TrainRequest

STAGES = ["stage1", "stage2", "stage3", "stage4"]
BACKBONES = {
    "resnet": ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1], layer_type="basic", out_features=STAGES
    ),
    "swin": SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=3, drop_path_rate=0.3, out_features=STAGES
    ),
}
WHOLE_FRAMES = """
class_agnostic = false
hold_out = 4
short_sides = [48, 64]
points = 256
validation_short_side = 64
[augmentation]
colour = 0.0
paste = 0.0
[train]
steps = 4
batch_size = 4
learning_rate = 1e-3
log_every = 2
checkpoint_every = 2
"""


def write_foreign(folder, backbone="resnet"):
    torch.manual_seed(0)
    config = Mask2FormerConfig(
        backbone_config=BACKBONES[backbone], feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=48, dim_feedforward=64, encoder_layers=1, decoder_layers=3, num_attention_heads=4,
        num_queries=6, num_labels=5,
    )  # fmt: skip
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    return folder


def task_from(folder, squares, **changes):
    values = {
        "short_sides": [64], "points": 64, "augmentation": {"paste": 0.0}, "train": {"steps": 2, "batch_size": 2}
    }  # fmt: skip
    recipe = MinvisRecipe.model_validate(values | changes)
    data = coco_data(read_coco(squares / "instances.json"), class_agnostic=False)
    return MinvisTask(recipe, data, start_from=folder)


def test_bundled_weights_with_a_head_for_other_classes():
    small = start(None, ["cat", "dog", "emu"], start_from="mask2former")
    bundled = load_small(small_folder())
    assert small.architecture == Architecture(**{**read_architecture(small_folder()).to_dict(), "num_classes": 3})
    theirs, ours = bundled.model.state_dict(), small.network.state_dict()
    changed = {key for key in ours if ours[key].shape != theirs[key].shape}
    assert {key.split(".")[0] for key in changed} == {"class_predictor", "criterion"}
    name = "model.transformer_module.queries_features.weight"
    assert torch.equal(ours[name], theirs[name])
    assert small.network.config.id2label == {0: "cat", 1: "dog", 2: "emu"}


def test_fewer_queries_are_the_first_of_the_weights():
    few = start(Architecture(queries=7), ["object"], start_from="mask2former").network
    many = start(None, ["object"], start_from="mask2former").network
    for name in ("queries_features", "queries_embedder"):
        one, other = (getattr(network.model.transformer_module, name).weight for network in (few, many))
        assert torch.equal(one, other[:7])


def small_folder():
    from fewmask.minvis.pretrained import folder_of

    return folder_of("mask2former")


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_a_mask2former_of_transformers_trains_and_is_saved_as_one(squares, tmp_path, backbone):
    write_foreign(tmp_path / "coco", backbone)
    (tmp_path / "recipe.toml").write_text(WHOLE_FRAMES)
    request = TrainRequest(tmp_path / "recipe.toml", tmp_path / "run")
    figures = train_minvis(request, squares / "instances.json", start_from=tmp_path / "coco")
    assert "AP" in figures
    model = AutoModelForUniversalSegmentation.from_pretrained(tmp_path / "run" / "weights")
    assert model.config.id2label == {0: "one", 1: "two"}
    ours = MinVIS.from_pretrained(tmp_path / "run" / "weights")
    assert ours.categories == {1: "one", 2: "two"}
    before = Mask2FormerForUniversalSegmentation.from_pretrained(tmp_path / "coco").state_dict()
    after = model.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before if "pixel_level_module.decoder" in key)
    norms = [key for key in before if "encoder" in key and ("running" in key or "normalization" in key)]
    assert all(torch.equal(before[key], after[key]) for key in norms), "frozen batch norms"


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_every_trained_parameter_gets_a_gradient(squares, tmp_path, backbone):
    """A process group waits for the gradient of every parameter, for ever if there is none."""
    task = task_from(write_foreign(tmp_path / "coco", backbone), squares)
    task.network.train()
    task.loss(task.collate([task.sample(0), task.sample(1)]), torch.device("cpu"))["total"].backward()
    without = [name for name, p in task.network.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    ids = [id(p) for group in task.parameter_groups(1e-4, 0.05) for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in task.network.parameters() if p.requires_grad)


def test_whole_frames_keep_their_proportions_and_padding_is_zero(squares, tmp_path):
    task = task_from(write_foreign(tmp_path / "coco"), squares, short_sides=[40, 64])
    batch = task.collate([task.sample(number) for number in range(6)])
    assert set(batch.sizes) == {(40, 40), (64, 64)}
    assert batch.pixels.shape == (6, 64, 64, 3)
    pixels = task._pixels(batch, torch.device("cpu"))
    for image, target, (height, width) in zip(pixels, batch.targets, batch.sizes, strict=True):
        assert image[:, height:].abs().sum() == image[:, :, width:].abs().sum() == 0
        assert not target.masks[:, height:].any()
        bright = image[:, :height, :width].mean(0) > 0
        inside = target.masks[:, :height, :width].any(0)
        assert (bright == inside).float().mean() > 0.9


def test_what_cannot_be_started_from_is_named(squares, tmp_path):
    foreign = write_foreign(tmp_path / "coco")
    with pytest.raises(ConfigError, match=r"leave \[network\]"):
        start(Architecture(), ["a"], start_from=foreign)
    with pytest.raises(CheckpointError, match="nowhere"):
        start(None, ["a"], start_from=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match='kind = "dense"'):
        start(None, ["a"], start_from="small")
    with pytest.raises(CheckpointError, match="another architecture"):
        start(Architecture(queries=60), ["a"], start_from="mask2former")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="'bert'"):
        start(None, ["a"], start_from=tmp_path / "bert")
    with pytest.raises(ConfigError, match="exclude one another"):
        MinvisTask(
            MinvisRecipe.model_validate({"train": {"steps": 1, "batch_size": 1}}),
            coco_data(read_coco(squares / "instances.json"), class_agnostic=True), {}, start_from="mask2former",
        )  # fmt: skip


def test_save_pretrained_of_every_kind_is_read_back(squares, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY.replace("steps = 12", "steps = 1"))
    train_minvis(TrainRequest(tmp_path / "tiny.toml", tmp_path / "run"), squares / "instances.json")
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    for source in (tmp_path / "run" / "weights", write_foreign(tmp_path / "foreign")):
        model = MinVIS.from_pretrained(source)
        copy = tmp_path / f"copy_of_{source.name}"
        model.save_pretrained(copy)
        again = MinVIS.from_pretrained(copy)
        assert again.categories == model.categories
        assert again.segmenter.short_side == model.segmenter.short_side
        one, two = model.segmenter(frames), again.segmenter(frames)
        assert torch.equal(one.masks_queries_logits, two.masks_queries_logits)
        assert torch.equal(one.class_queries_logits, two.class_queries_logits)
        by_file = MinVIS.from_pretrained(copy / "model.safetensors").segmenter(frames)
        assert torch.equal(one.query_embeddings, by_file.query_embeddings)
