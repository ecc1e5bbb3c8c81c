import csv
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.pipelines.train import train_selfshot
from fewmask.pipelines.train_request import TrainRequest
from fewmask.selfshot.evaluate import evaluate, oracle_episodes
from fewmask.selfshot.pretrained import load_transformer
from fewmask.selfshot.train import TransformerRecipe, TransformerTask
from fewmask.selfshot.transformer import EncodedSupports
from fewmask.training.settings import TrainSettings

from .test_transformer import TINY, Oracle

RECIPE = """
shots = 1
backbone_rate = {rate}
[losses]
common = 2.0
[network]
backbone = "mobilenet_v2"
width = 24
heads = 2
feed_forward = 32
encoder_layers = 1
fuser_layers = 1
decoder_layers = 1
slots = 3
frames = 4
support_frames = 2
size = [32, 48]
mask_levels = [16, 16, 8]
mask_channels = 8
common_map = true
[train]
steps = 4
batch_size = 2
checkpoint_every = 2
log_every = 1
"""


def write_videos(folder, videos=4, length=6, size=(32, 48)):
    """Red squares in even videos, green ones in odd videos; the square is gone in frame 2."""
    annotations, entries = [], []
    for video in range(1, videos + 1):
        names, masks = [], []
        for index in range(length):
            rgb = np.full((*size, 3), 40, np.uint8)
            mask = np.zeros(size, bool)
            if index != 2:
                mask[8:24, 4 + 2 * index : 20 + 2 * index] = True
            rgb[mask, video % 2] = 250
            names.append(f"{video:05d}/{index:05d}.png")
            path = folder / "JPEGImages" / names[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rgb).save(path)
            masks.append(rle.encode(mask) if mask.any() else None)
        entries.append({"id": video, "width": size[1], "height": size[0], "length": length, "file_names": names})
        annotations.append(
            {
                "id": video,
                "video_id": video,
                "category_id": 1 + video % 2,
                "iscrowd": 0,
                "segmentations": masks,
                "areas": [1.0] * length,
                "bboxes": [[0, 0, 1, 1]] * length,
            }
        )
    categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}]
    path = folder / "instances.json"
    path.write_text(json.dumps({"videos": entries, "annotations": annotations, "categories": categories}))
    return path


def losses(folder):
    with (folder / "log.csv").open() as handle:
        return [json.loads(row["losses"])["total"] for row in csv.DictReader(handle)]


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_training_resumes_exactly_and_leaves_a_network(tmp_path, rate):
    data, recipe = write_videos(tmp_path), tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(rate=rate))
    request = TrainRequest(recipe, tmp_path / "whole", device="cpu")
    figures = train_selfshot(request, data, held_out=data)
    assert set(figures) == {"AP50", "AP50_pooled"}
    assert load_transformer(tmp_path / "whole" / "weights").config.common_map
    task = TransformerTask(
        TransformerRecipe.model_validate(settings(rate)), read_ytvis(data), data.parent / "JPEGImages"
    )
    assert any(p.requires_grad for p in task.network.backbone.parameters()) is (rate > 0)
    reports = []

    def killed(report):
        reports.append(report)
        if len(reports) == 3:  # one step after the checkpoint
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_selfshot(TrainRequest(recipe, tmp_path / "parts", device="cpu", report=killed), data)
    train_selfshot(TrainRequest(recipe, tmp_path / "parts", device="cpu", resume=True), data)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    parts, whole = ((tmp_path / name / "weights" / "model.safetensors").read_bytes() for name in ("parts", "whole"))
    assert parts == whole


def settings(rate):
    return {"network": TINY, "backbone_rate": rate, "shots": 1, "train": TrainSettings(steps=4, batch_size=2)}


def test_samples_mirror_masks_with_pictures_and_supports_are_other_videos_of_the_class(tmp_path):
    data = write_videos(tmp_path)
    recipe = TransformerRecipe.model_validate(settings(0.1))
    task = TransformerTask(recipe, read_ytvis(data), data.parent / "JPEGImages")
    mirrored = set()
    for number in range(12):
        sample = task.sample(number)
        red_or_green = sample.query.pictures.float()[..., :2].amax(-1) > 150
        shown = torch.nn.functional.interpolate(red_or_green[None].float(), (48, 64))[0] > 0.5
        truth = sample.targets.masks.any(0)
        assert (shown & truth).sum() > 0.8 * truth.sum() > 0
        assert all(s.video != sample.query.video and (s.video - sample.query.video) % 2 == 0 for s in sample.supports)
        mirrored.add(sample.query.mirrored)
    assert mirrored == {True, False}
    with pytest.raises(DatasetError, match="two videos"):
        TransformerTask(recipe, read_ytvis(write_videos(tmp_path / "few", videos=2)), tmp_path)


def test_some_supports_go_astray_but_never_all(tmp_path):
    data = write_videos(tmp_path)
    recipe = TransformerRecipe.model_validate(settings(0.1) | {"shots": 3, "strays": 0.6})
    task = TransformerTask(recipe, read_ytvis(data), data.parent / "JPEGImages")
    alike = []
    for number in range(40):
        sample = task.sample(number)
        assert all(support.video != sample.query.video for support in sample.supports)
        alike.append(sum((support.video - sample.query.video) % 2 == 0 for support in sample.supports))
    assert set(alike) == {1, 2, 3}


def test_a_perfect_network_has_ap_1_and_a_shifted_one_less(tmp_path):
    data = write_videos(tmp_path, length=8)
    dataset, root = read_ytvis(data), data.parent / "JPEGImages"
    episodes = oracle_episodes(dataset, root, shots=1)
    assert [(e.video, e.category) for e in episodes] == [(2, 1), (4, 1), (1, 2), (3, 2)]
    assert all(
        place.video.endswith(f"{6 - e.video if e.category == 1 else 4 - e.video:05d}")
        for e in episodes
        for place in e.supports
    )
    assert oracle_episodes(dataset, root, shots=2) == []
    oracle = Oracle()
    oracle.weight = torch.nn.Parameter(torch.zeros(1))
    oracle.encode_supports = lambda clips: EncodedSupports(torch.zeros(1, 24), ())
    assert evaluate(oracle, dataset, root, episodes).mean == pytest.approx(1)
    draw = Oracle.forward

    class Shifted(Oracle):
        def forward(self, frames, supports):
            return draw(self, frames.roll(10, 2), supports)

    shifted = Shifted()
    shifted.weight, shifted.encode_supports = oracle.weight, oracle.encode_supports
    assert evaluate(shifted, dataset, root, episodes).mean < 0.5


def test_the_papers_recipe_matches_by_generalised_iou():
    path = Path(__file__).parents[2] / "recipes" / "selfshot" / "transformer_paper.toml"
    recipe = TransformerRecipe.model_validate(tomllib.loads(path.read_text()))
    assert recipe.losses.matching.overlap_kind == "giou"
    assert recipe.losses.giou == 2
