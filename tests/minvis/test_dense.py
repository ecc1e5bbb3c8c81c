"""The one-stage segmenter: assignment, losses, queries, the folder, and that it learns."""

import copy
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fewmask.datasets.class_names import COCO
from fewmask.datasets.coco import read_coco
from fewmask.errors import CheckpointError, ConfigError, DatasetError
from fewmask.media.frames import open_frames
from fewmask.minvis.dense import queries
from fewmask.minvis.dense.assignment import MOST, SIZES, candidates, choose
from fewmask.minvis.dense.folded import folded
from fewmask.minvis.dense.losses import DenseTargets, LossWeights, contrast, dense_loss, quality_focal
from fewmask.minvis.dense.network import DenseNetwork, DenseShape, places_of, position_code
from fewmask.minvis.dense.recipe import DenseRecipe
from fewmask.minvis.dense.segmenter import QUERIES, DenseSegmenter, load_dense
from fewmask.minvis.dense.train import DenseTask
from fewmask.minvis.dense.weights import save_dense
from fewmask.minvis.pretrained import load
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.training_data import coco_data, joined
from fewmask.pipelines.segment import demo_clip
from fewmask.pipelines.train import TrainRequest, train_minvis

SHAPE = DenseShape(classes=3, width=16, pixel_width=8, identity=4)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return DenseNetwork(SHAPE).eval()


def square(top, left, side, size=(64, 96)):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def targets(*masks, unknown=None):
    stacked = torch.stack(masks) if masks else torch.zeros(0, 64, 96, dtype=torch.bool)
    return DenseTargets(
        stacked, torch.arange(len(masks)) % 3, torch.arange(len(masks)),
        torch.zeros(64, 96, dtype=torch.bool) if unknown is None else unknown,
    )  # fmt: skip


def test_the_network_has_one_voice_per_place_and_masks_over_the_whole_frame(network):
    with torch.no_grad():
        found = network(torch.randn(2, 3, 64, 96))
    places = 8 * 12 + 4 * 6 + 2 * 3
    assert found.objectness.shape == (2, places)
    assert found.classes.shape == (2, places, 3)
    assert found.identities.shape == (2, places, 4)
    assert found.pixels.shape[-2:] == (16, 24)
    assert found.kernels.shape[2] == found.pixels.shape[1]
    np.testing.assert_array_equal(found.places, places_of([(8, 12), (4, 6), (2, 3)], torch.device("cpu")))


def test_a_kernel_of_the_position_code_can_carve_out_one_side_of_the_frame():
    code = position_code(6, 8, torch.device("cpu"), torch.float32)[0]
    assert (code[0, :, :4] < 0).all()
    assert (code[0, :, 4:] > 0).all()
    assert float(code.abs().max()) <= 1.0


def test_candidates_lie_at_the_centre_on_the_maps_that_suit_the_size_and_every_object_has_one():
    places = places_of([(8, 12), (4, 6), (2, 3)], torch.device("cpu"))
    masks = torch.stack((square(20, 30, 12), square(0, 0, 3), square(4, 10, 60)))
    allowed = candidates(masks, places)
    assert allowed.any(1).all()
    for mask, row in zip(masks, allowed, strict=True):
        ys, xs = mask.nonzero().T.double()
        centre = torch.stack((xs.mean() + 0.5, ys.mean() + 0.5))
        size = float(mask.sum()) ** 0.5
        for place in places[row]:
            stride = float(place[2])
            low, high = SIZES[[8.0, 16.0, 32.0].index(stride)]
            assert low <= size < high
            assert float((place[:2] - centre).abs().max()) / stride < 2.0


def test_the_best_candidates_speak_and_a_place_speaks_for_one_object():
    random = torch.Generator().manual_seed(3)
    allowed = torch.rand(3, 40, generator=random) < 0.6
    score, overlap = torch.rand(40, generator=random), torch.rand(3, 40, generator=random)
    chosen = choose(allowed, score, overlap)
    metric = (score.sqrt() * (overlap + 0.05) ** 3).masked_fill(~allowed, 0)
    top = [set(metric[n].topk(MOST).indices.tolist()) for n in range(3)]
    for place in range(40):
        wanted = max((n for n in range(3) if place in top[n] and metric[n, place] > 0),
                     key=lambda n: float(metric[n, place]), default=None)  # fmt: skip
        got = chosen.objects[chosen.places == place].tolist()
        assert got == ([] if wanted is None else [wanted])


def test_places_in_unknown_regions_are_not_judged(network):
    pixels = torch.randn(1, 3, 64, 96)
    unknown = torch.zeros(64, 96, dtype=torch.bool)
    unknown[:, 48:] = True
    for region, silent in ((unknown, True), (None, False)):
        found = network(pixels)
        found.objectness.retain_grad()
        dense_loss(found, [targets(square(8, 4, 16), unknown=region)], LossWeights())["total"].backward()
        inside = found.places[:, 0] >= 48
        assert bool((found.objectness.grad[0, inside] == 0).all()) is silent
        assert bool((found.objectness.grad[0, ~inside] != 0).all())


def test_an_object_in_an_unknown_region_is_an_object_all_the_same(network):
    found = network(torch.randn(1, 3, 64, 96))
    found.objectness.retain_grad()
    everywhere = torch.ones(64, 96, dtype=torch.bool)
    losses = dense_loss(found, [targets(square(8, 4, 16), unknown=everywhere)], LossWeights())
    losses["total"].backward()
    assert (found.objectness.grad != 0).sum() in range(1, MOST + 1)
    assert losses["dice"] > 0


def test_a_batch_without_objects_teaches_silence(network):
    losses = dense_loss(network(torch.randn(1, 3, 64, 96)), [targets()], LossWeights())
    assert losses["objectness"] > 0
    assert [float(losses[name].detach()) for name in ("dice", "cross_entropy", "identity", "classes")] == [0, 0, 0, 0]


def test_quality_focal_by_hand():
    logits, target = torch.tensor([0.0, 2.0]), torch.tensor([0.8, 0.0])
    p = 1 / (1 + np.exp(-logits.numpy().astype(float)))
    entropy = -(target.numpy() * np.log(p) + (1 - target.numpy()) * np.log(1 - p))
    expected = ((target.numpy() - p) ** 2 * entropy).sum() / 1.0
    assert float(quality_focal(logits, target, torch.ones(2))) == pytest.approx(expected, rel=1e-5)


def test_contrast_by_hand():
    vectors = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    identities = [0, 0, 1, 2, 1]
    similarity = (vectors @ vectors.T / 0.1).double().numpy()
    terms = []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        same = [j for j in others if identities[j] == identities[i]]
        if same:
            total = np.log(sum(np.exp(similarity[i, j]) for j in others))
            terms.append(np.mean([total - similarity[i, j] for j in same]))
    assert float(contrast(vectors, torch.tensor(identities))) == pytest.approx(np.mean(terms), rel=1e-5)
    assert float(contrast(vectors, torch.arange(5))) == 0.0


def test_doubles_give_way_to_better_masks():
    masks = torch.stack((square(0, 0, 30), square(1, 1, 30), square(0, 0, 0), square(30, 40, 20), square(40, 0, 20)))
    kept = queries.winning_places(torch.linspace(0.9, 0.1, 5), masks, 9).tolist()
    assert kept == [0, 3, 4]
    assert queries.winning_places(torch.linspace(0.9, 0.1, 5), masks, 2).tolist() == [0, 3]
    for a, b in itertools.combinations(kept, 2):
        assert int((masks[a] & masks[b]).sum()) == 0


def test_every_query_bears_one_name_and_its_objectness(network, monkeypatch):
    segmenter = DenseSegmenter(network, ("a", "b", "c"), short_side=None)
    frames = np.random.default_rng(0).integers(0, 255, (2, 50, 70, 3), dtype=np.uint8)
    output = segmenter(frames)
    assert output.class_queries_logits.shape == (2, QUERIES, 5)
    assert output.masks_queries_logits.shape == (2, QUERIES, 16, 24)
    assert output.padded_size == (64, 96)
    assert output.image_size == (50, 70)
    probability = output.class_queries_logits.softmax(-1)
    assert ((probability[..., :-1] > 1e-4).sum(-1) <= 1).all()
    lengths = output.query_embeddings.norm(dim=-1)
    null = probability[..., :-1].max(-1).values < 1e-4
    np.testing.assert_allclose(lengths[~null], 1.0, atol=1e-5)
    assert (output.masks_queries_logits[null] < 0).all()
    assert segmenter.categories == {0: "a", 1: "b", 2: "c", 3: "object"}


def test_saved_weights_come_back_as_they_are(network, tmp_path):
    half = {k: v.half().float() if v.is_floating_point() and "running" not in k else v
            for k, v in network.state_dict().items()}  # fmt: skip
    rounded = DenseNetwork(SHAPE)
    rounded.load_state_dict(half)
    save_dense(network, tmp_path / "w", names=("a", "b", "c"), short_side=64)
    frames = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)
    expected = DenseSegmenter(rounded, ("a", "b", "c"), short_side=64)(frames)
    loaded = load(tmp_path / "w")
    got = loaded(frames)
    for name in ("class_queries_logits", "masks_queries_logits", "query_embeddings"):
        assert torch.equal(getattr(got, name), getattr(expected, name)), name
    loaded.save(tmp_path / "again")
    first, second = (load_file(tmp_path / folder / "model.safetensors") for folder in ("w", "again"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: (d / "dense.json").write_text("{}"), "dense.json"),
        (lambda d: (d / "dense.json").write_text("no json"), "dense.json"),
        (lambda d: (d / "dense.json").write_text(json.dumps({"network": SHAPE.to_dict(), "names": ["a"],
                                                             "short_side": 64})), "1 names for 3 classes"),
        (lambda d: (d / "model.safetensors").unlink(), "no such file"),
        (lambda d: (d / "model.safetensors").write_bytes(b"12345678"), "damaged"),
        (lambda d: save_file({"x": torch.zeros(1)}, d / "model.safetensors"), "another network"),
    ],
)  # fmt: skip
def test_damaged_folders_are_refused_in_one_line(network, tmp_path, damage, said):
    save_dense(network, tmp_path, names=("a", "b", "c"), short_side=64)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_dense(tmp_path)
    assert "\n" not in str(caught.value)


RECIPE = {
    "kind": "dense", "width": 32, "pixel_width": 16, "identity": 8, "hold_out": 4, "sizes": [[64, 64]],
    "validation_short_side": 64,
    "frozen_stages": 0, "backbone_rate": 1.0, "augmentation": {"scale": [0.95, 1.05], "turn": 0.0},
    "train": {"steps": 60, "batch_size": 4, "learning_rate": 2e-3, "clip_norm": 5.0, "warmup": 5},
}  # fmt: skip


def task_of(squares, **changes):
    recipe = DenseRecipe.model_validate({**RECIPE, **changes})
    return DenseTask(recipe, coco_data(read_coco(squares / "instances.json"), class_agnostic=False, hold_out=4))


def test_samples_depend_on_their_number_alone_and_pairs_share_objects(squares):
    task, again = task_of(squares), task_of(squares)
    for number in (0, 1, 3, 7):
        for one, other in zip(task.sample(number), again.sample(number), strict=True):
            np.testing.assert_array_equal(one.rgb, other.rgb)
            np.testing.assert_array_equal(one.masks, other.masks)
    assert [len(task.sample(number)) for number in range(4)] == [2, 1, 1, 2]
    batch = task.collate([task.sample(0), task.sample(1)])
    first, second, third = (set(t.identities.tolist()) for t in batch.targets)
    assert first & second
    assert not (first | second) & third


def test_frozen_stages_and_every_other_parameter_once(squares):
    task = task_of(squares, frozen_stages=2)
    groups = task.parameter_groups(1e-3, 0.05)
    trained = [id(p) for group in groups for p in group["params"]]
    assert len(trained) == len(set(trained)) == sum(p.requires_grad for p in task.network.parameters())
    assert not any(p.requires_grad for p in task.network.backbone.body.stages_1.parameters())


def test_data_sets_are_joined_by_the_names_of_their_classes(squares):
    first = coco_data(read_coco(squares / "instances.json"), class_agnostic=False, hold_out=4)
    swapped = replace(first, categories=first.categories[::-1])
    both = joined([first, swapped], (2,))
    assert len(both.videos) == 3 * len(first.videos)
    for ours, theirs in zip(both.videos[-len(first.videos) :], first.videos, strict=True):
        assert [1 - label for label in ours[0].labels] == list(theirs[0].labels)
    with pytest.raises(DatasetError, match="data set 2 has the class 'three'"):
        joined([first, replace(first, categories=("one", "three"))])


def test_the_verb_trains_it_with_a_teachers_labels_beside_the_data(squares, tmp_path):
    text = "kind = 'dense'\nwidth = 16\npixel_width = 8\nidentity = 4\nsizes = [[64, 64]]\n"
    text += "hold_out = 4\nrepeat = [2, 1]\n"
    (tmp_path / "dense.toml").write_text(text + "[train]\nsteps = 2\nbatch_size = 2\n")
    entries = json.loads((squares / "instances.json").read_text())
    for annotation in entries["annotations"][::2]:
        annotation["iscrowd"] = 1
    (tmp_path / "teacher.json").write_text(json.dumps(entries))
    figures = train_minvis(
        TrainRequest(tmp_path / "dense.toml", tmp_path / "run"), squares / "instances.json",
        more=[(tmp_path / "teacher.json", squares / "images")],
    )  # fmt: skip
    assert set(figures) >= {"AP50"}
    assert load(tmp_path / "run" / "weights").categories == {0: "one", 1: "two", 2: "object"}


def test_names_of_the_weights_can_stay(squares, tmp_path):
    network = DenseNetwork(replace(SHAPE, classes=5))
    save_dense(network, tmp_path, names=tuple("abcde"), short_side=64)
    recipe = DenseRecipe.model_validate({**RECIPE, "keep_names": True})
    data = coco_data(read_coco(squares / "instances.json"), class_agnostic=True)
    task = DenseTask(recipe, data, start_from=tmp_path)
    batch = task.collate([task.sample(0)])
    assert (batch.targets[0].labels == -1).all()
    assert len(batch.targets[0].labels)
    assert float(task.loss(batch, torch.device("cpu"))["classes"].detach()) == 0.0
    task.save(tmp_path / "out")
    assert load(tmp_path / "out").categories == dict(enumerate((*"abcde", "object")))
    with pytest.raises(ConfigError, match="keep_names needs weights"):
        DenseTask(recipe, data)


def test_the_bundled_network_knows_the_names_of_coco():
    segmenter = load()
    assert isinstance(segmenter, DenseSegmenter)
    assert list(segmenter.categories.values()) == [*(COCO[key] for key in sorted(COCO)), "object"]
    assert segmenter.teaches_identity


@pytest.mark.slow
def test_it_learns_squares(squares):
    from fewmask.training.loop import train

    task = task_of(squares)
    lines = []
    (squares / "run").mkdir()
    figures = train(task, task.recipe.train, squares / "run", device=torch.device("cpu"), report=lines.append)
    assert lines[-1].losses["dice"] < 0.5 * lines[0].losses["dice"]
    assert figures["AP50"] > 0.3
    model = MinVIS.from_pretrained(squares / "run" / "weights")
    assert model.categories == {1: "one", 2: "two", 3: "object"}


def test_impossible_shapes_and_starts_are_refused(squares, tmp_path):
    with pytest.raises(ConfigError, match="impossible shape"):
        DenseShape(classes=0)
    recipe = DenseRecipe.model_validate(RECIPE)
    data = coco_data(read_coco(squares / "instances.json"), class_agnostic=True)
    with pytest.raises(ConfigError, match="give one"):
        DenseTask(recipe, data, {}, start_from=tmp_path)
    with pytest.raises(CheckpointError):
        DenseTask(replace_width(recipe), data, start_from=tmp_path)


def replace_width(recipe):
    return recipe.model_copy(update={"width": 16})


def test_a_class_head_of_other_names_starts_anew(squares, tmp_path):
    network = DenseNetwork(replace(SHAPE, classes=5))
    save_dense(network, tmp_path, names=tuple("abcde"), short_side=64)
    recipe = DenseRecipe.model_validate({**RECIPE, "width": 16, "pixel_width": 8, "identity": 4})
    data = coco_data(read_coco(squares / "instances.json"), class_agnostic=False)
    task = DenseTask(recipe, data, start_from=tmp_path)
    assert task.network.classes.bias.shape == (2,)
    assert torch.equal(task.network.kernel.weight, network.kernel.weight.half().float())


def test_classes_keep_what_was_learned_of_their_names(squares, tmp_path):
    network = DenseNetwork(SHAPE)
    names = ("two", "one", *(f"class {number}" for number in range(SHAPE.classes - 2)))
    save_dense(network, tmp_path, names=names, short_side=64)
    data = coco_data(read_coco(squares / "instances.json"), class_agnostic=False)
    data = replace(data, categories=("one", "two", "new"))
    recipe = DenseRecipe.model_validate({**RECIPE, "width": 16, "pixel_width": 8, "identity": 4})
    head = DenseTask(recipe, data, start_from=tmp_path).network.classes
    known = network.classes.weight.half().float()
    assert torch.equal(head.weight[0], known[1])
    assert torch.equal(head.weight[1], known[0])
    assert not any(torch.equal(head.weight[2], row) for row in known)


def test_the_network_as_it_is_run_has_no_normalisations_left_and_says_the_same():
    torch.manual_seed(1)
    trained = DenseNetwork(SHAPE)
    for _ in range(3):  # statistics of its own for every normalisation
        trained.train()(torch.randn(2, 3, 64, 96))
    trained.eval()
    run, images = folded(trained), torch.randn(2, 3, 64, 96)
    kinds = {type(module) for module in trained.modules()}
    assert torch.nn.BatchNorm2d in kinds  # of the trained one, as it was
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in run.modules())
    with torch.inference_mode():
        expected, found = trained(images), run(images)
    for name in ("objectness", "classes", "kernels", "identities", "pixels"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-3, atol=1e-4)


def test_masks_of_the_bundled_network_are_those_of_the_network_as_trained(monkeypatch):
    with open_frames(demo_clip(short=True)) as source:
        frames = np.stack([frame.rgb for frame, _ in zip(source, range(2), strict=False)])
    segmenter = load()
    found = segmenter(frames, short_side=segmenter.short_side)
    monkeypatch.setattr(segmenter, "_run", segmenter.network)
    expected = segmenter(frames, short_side=segmenter.short_side)
    inside, wanted = found.masks_queries_logits > 0, expected.masks_queries_logits > 0
    there = wanted.flatten(2).any(2)
    assert there.sum() > 5
    assert torch.equal(there, inside.flatten(2).any(2))
    iou = (inside & wanted).flatten(2).sum(2) / (inside | wanted).flatten(2).sum(2).clamp(min=1)
    assert iou[there].min() > 0.999


def test_weights_that_change_are_the_ones_that_run(network):
    segmenter = DenseSegmenter(copy.deepcopy(network), ("a", "b", "c"), short_side=None)
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    before = segmenter(frames).masks_queries_logits
    state = segmenter.state_dict()
    assert set(state) == {f"network.{key}" for key in network.state_dict()}
    segmenter.train()
    with torch.no_grad():
        segmenter.network.objectness.bias.add_(3)
        segmenter.network.kernel.bias.add_(1)
    segmenter.eval()
    assert not torch.equal(segmenter(frames).masks_queries_logits, before)


def test_masks_are_made_of_the_winners_alone_and_are_kernel_times_pixels(network):
    with torch.inference_mode():
        found = network(torch.randn(1, 3, 64, 96))
        scores, _, masks, _ = queries.queries_of(found, 0, 12)
        objectness = found.objectness[0].sigmoid()
        everything = (found.kernels[0] @ found.pixels[0].flatten(1)).view(-1, *found.pixels.shape[-2:])
    for score, mask in zip(scores[scores > 0], masks, strict=False):
        torch.testing.assert_close(mask, everything[(objectness == score).nonzero()[0, 0]], rtol=1e-4, atol=1e-5)
