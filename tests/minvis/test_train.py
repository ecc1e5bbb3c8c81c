"""Training a tiny segmenter on pictures of squares: views, groups, learning, resuming, recipes."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from square_data import TINY

from fewmask.datasets.coco import read_coco
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import ConfigError, DatasetError
from fewmask.minvis.architecture import Architecture
from fewmask.minvis.augment import Augmentation, LabelledFrame, paste, view
from fewmask.minvis.dense.recipe import DenseRecipe
from fewmask.minvis.pretrained import load_small
from fewmask.minvis.train import MinvisRecipe, MinvisTask
from fewmask.minvis.training_data import coco_data, ytvis_data
from fewmask.pipelines.recipes import read_recipe
from fewmask.pipelines.train import train_minvis
from fewmask.pipelines.train_request import TrainRequest

RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "minvis").rglob("*.toml"))


def test_trains_saves_and_loads(squares, tmp_path):
    lines = []
    figures = train_minvis(
        TrainRequest(squares / "tiny.toml", tmp_path, report=lines.append), squares / "instances.json"
    )
    assert set(figures) >= {"AP", "AP50", "AR10"}
    assert lines[-1].losses["total"] < lines[0].losses["total"]
    segmenter = load_small(tmp_path / "weights")
    assert segmenter.categories == {0: "object"}
    output = segmenter(np.zeros((2, 64, 64, 3), dtype=np.uint8))
    assert output.class_queries_logits.shape == (2, 6, 2)
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "finished"


def test_a_run_stopped_early_resumes_bit_equal(squares, tmp_path):
    train_minvis(TrainRequest(squares / "tiny.toml", tmp_path / "whole"), squares / "instances.json")

    def stop(line):
        if line.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_minvis(TrainRequest(squares / "tiny.toml", tmp_path / "cut", report=stop), squares / "instances.json")
    train_minvis(TrainRequest(squares / "tiny.toml", tmp_path / "cut", resume=True), squares / "instances.json")
    whole, cut = (tmp_path / name / "weights" / "model.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()


def test_every_parameter_is_in_one_group_and_the_backbone_is_slower(squares):
    recipe = MinvisRecipe.model_validate(
        {"network": Architecture(backbone="timm:mobilenetv3_small_050", queries=4, width=32, encoder_layers=1,
                                 decoder_layers=1, feedforward=32), "train": {"steps": 1, "batch_size": 1}}
    )  # fmt: skip
    task = MinvisTask(recipe, coco_data(read_coco(squares / "instances.json"), class_agnostic=True))
    groups = task.parameter_groups(1e-3, 0.05)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in task.network.parameters())
    backbone = {id(p) for p in task.network.model.pixel_level_module.encoder.parameters()}
    for group in groups:
        inside = {id(p) in backbone for p in group["params"]}
        assert len(inside) == 1
        assert group["lr"] == pytest.approx(1e-4 if inside.pop() else 1e-3)
    norms = [p for m in task.network.modules() if isinstance(m, torch.nn.LayerNorm) for p in m.parameters()]
    free = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    assert norms
    assert {id(p) for p in norms} <= free


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 2.0), st.booleans())
@settings(max_examples=40, deadline=None)
def test_masks_stay_on_their_pixels(seed, scale, pasted):
    """Colours mark instances, so every kept mask must lie on its own colour wherever no blending happened."""
    random = np.random.default_rng(seed)
    augmentation = Augmentation(scale=(scale, scale * 1.01), turn=15.0, paste=1.0)

    def scene(colours):
        rgb = np.zeros((50, 70, 3), dtype=np.uint8)
        masks = np.zeros((2, 50, 70), dtype=bool)
        masks[0, 5:25, 5:30] = True
        masks[1, 20:45, 40:65] = True
        for mask, colour in zip(masks, colours, strict=True):
            rgb[mask] = colour
        return LabelledFrame(rgb, masks, np.array(colours, dtype=np.int64))

    found = view(scene([200, 100]), (48, 64), augmentation, random)
    if pasted:
        found = paste(found, view(scene([250, 150]), (48, 64), augmentation, random), augmentation, random)
        assert (found.masks.sum(axis=0) <= 1).all()
    assert found.masks.shape == (len(found.labels), 48, 64)
    for mask, label in zip(found.masks, found.labels, strict=True):
        inner = mask.copy()
        inner[:4] = inner[-4:] = False  # an edge just outside the view blends into it
        inner[:, :4] = inner[:, -4:] = False
        for shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
            for _ in range(1, 4):
                inner &= np.roll(inner, shift[1], axis=shift[0])
        assert (np.abs(found.rgb[inner].astype(int) - label) <= 2).all()


def test_samples_depend_on_their_number_alone(squares):
    recipe = MinvisRecipe.model_validate(
        {
            "network": Architecture(backbone="timm:mobilenetv3_small_050", queries=4, width=32, decoder_layers=1),
            "train": {"steps": 4, "batch_size": 2},
            "sizes": [(32, 64), (64, 32)],
        }
    )
    one, two = (
        MinvisTask(recipe, coco_data(read_coco(squares / "instances.json"), class_agnostic=True)) for _ in range(2)
    )
    two.sample(0)
    [a], [b] = one.sample(5), two.sample(5)
    np.testing.assert_array_equal(a.frame.rgb, b.frame.rgb)
    assert a.point_seed == b.point_seed
    assert [one.sample(i)[0].frame.rgb.shape[:2] for i in range(4)] == [(32, 64)] * 2 + [(64, 32)] * 2


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid(path):
    kind = DenseRecipe if "kind" in tomllib.loads(path.read_text()) else MinvisRecipe
    assert read_recipe(path, kind).train.steps > 0


def test_mistakes_in_recipes_and_data_are_named(squares, tmp_path):
    wrong = tmp_path / "wrong.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipe(wrong, MinvisRecipe)
    wrong.write_text("[train]\nsteps = 'many'\nbatch_size = 1")
    with pytest.raises(ConfigError, match=r"train\.steps"):
        read_recipe(wrong, MinvisRecipe)
    wrong.write_text("[train")
    with pytest.raises(ConfigError, match="TOML"):
        read_recipe(wrong, MinvisRecipe)
    with pytest.raises(DatasetError, match="no picture left"):
        coco_data(read_coco(squares / "instances.json"), class_agnostic=True, require="all80")
    with pytest.raises(ConfigError, match="share of frames"):
        train_minvis(TrainRequest(squares / "tiny.toml", tmp_path / "out"), squares / "instances.json", frames=0.1)


def test_sparse_frames_of_videos_with_their_visible_instances(videos):
    dataset = read_ytvis(videos / "instances.json")
    data = ytvis_data(dataset, videos / "JPEGImages", class_agnostic=False, ratio=0.1, hold_out=4)
    assert data.categories == ("a", "b")
    assert [[frame.path.name for frame in video] for video in data.videos] == [["00000.png", "00010.png"]] * 3
    one = ytvis_data(dataset, videos / "JPEGImages", class_agnostic=True, ratio=0.01)
    assert [[frame.path.name for frame in video] for video in one.videos] == [["00010.png"]] * 4
    every = ytvis_data(dataset, videos / "JPEGImages", class_agnostic=False)
    assert [frame.labels for frame in every.videos[0][:2]] == [(0, 1), (0,)]
    assert one.videos[0][0].load().masks.shape == (2, 48, 64)


def test_trains_on_videos_and_measures_video_ap(videos, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TINY.replace("steps = 12", "steps = 2").replace("checkpoint_every = 5", "").replace(
        "hold_out = 4", "hold_out = 4\nclass_agnostic = false"
    ))  # fmt: skip
    figures = train_minvis(TrainRequest(recipe, tmp_path / "out"), videos / "instances.json", frames=0.1)
    assert {"AP", "AP50", "AR10"} <= set(figures)
    assert load_small(tmp_path / "out" / "weights").categories == {0: "a", 1: "b"}


def test_starts_from_the_weights_of_an_earlier_training(squares, tmp_path):
    train_minvis(TrainRequest(squares / "tiny.toml", tmp_path / "first"), squares / "instances.json")
    frozen = tmp_path / "frozen.toml"
    frozen.write_text(TINY.replace("learning_rate = 1e-3", "learning_rate = 1e-12").replace("steps = 12", "steps = 1"))
    train_minvis(
        TrainRequest(frozen, tmp_path / "second"), squares / "instances.json", start_from=tmp_path / "first" / "weights"
    )
    first, second = (load_small(tmp_path / name / "weights").state_dict() for name in ("first", "second"))
    assert all(torch.allclose(first[key].float(), second[key].float(), atol=1e-3) for key in first)
