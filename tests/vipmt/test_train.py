import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.datasets.coco import read_coco
from fewmask.errors import CheckpointError, ConfigError, DatasetError
from fewmask.training.settings import TrainSettings
from fewmask.vipmt.convert import save_network
from fewmask.vipmt.episodes import EpisodeSampler, LabelledFrame, LabelledVideo, Shot, split_categories, videos_of_coco
from fewmask.vipmt.feature_cache import FeatureCache
from fewmask.vipmt.mask_noise import noisy_masks
from fewmask.vipmt.model import VIPMT
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.recipe import VIPMTRecipe
from fewmask.vipmt.start import load_start
from fewmask.vipmt.train import VIPMTTask, make_task
from fewmask.vipmt.training_videos import merged_videos
from fewmask.vipmt.views import shot_mask, shot_picture

SIZE = (40, 64)


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    """Ten pictures: red squares (class 1) and blue bars (class 2), five of each."""
    folder = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for key in range(1, 11):
        category = 1 + key % 2
        x, y = (int(v) for v in rng.integers(2, 20, 2))
        width, height = (16, 16) if category == 1 else (30, 8)
        rgb = rng.integers(90, 120, (*SIZE, 3), dtype=np.uint8)
        rgb[y : y + height, x : x + width] = (220, 20, 20) if category == 1 else (20, 20, 220)
        Image.fromarray(rgb).save(folder / f"{key}.png")
        images.append({"id": key, "file_name": f"{key}.png", "height": SIZE[0], "width": SIZE[1]})
        outline = [x, y, x + width, y, x + width, y + height, x, y + height]
        annotations.append(
            {
                "id": key,
                "image_id": key,
                "category_id": category,
                "segmentation": [outline],
                "bbox": [x, y, width, height],
                "area": width * height,
                "iscrowd": 0,
            }
        )
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    (folder / "instances.json").write_text(json.dumps(document))
    return videos_of_coco(read_coco(folder / "instances.json"), (1, 2))


def recipe(config, **changes):
    settings = {"steps": 2, "batch_size": 2, "learning_rate": 1e-3, "clip_norm": 1.0, **changes.pop("train", {})}
    values = {"network": config, "shots": 2, "clips": 2, "validation_episodes": 2, **changes}
    return VIPMTRecipe(train=TrainSettings(**settings), **values)


@pytest.fixture
def small(tiny_config):
    return replace(tiny_config, input_size=SIZE, clip_length=2, memory_length=2)


def test_episodes_are_pure_functions_of_their_number(stills):
    sampler = EpisodeSampler(stills, [1, 2], shots=3, clip_length=3, seed=5)
    assert sampler.draw(1, 7) == sampler.draw(1, 7)
    assert len({sampler.draw(1, n).clips for n in range(20)}) > 5
    for number in range(10):
        episode = sampler.draw(2, number)
        queries = {shot.frame.key for clip in episode.clips for shot in clip}
        assert len(queries) == 1
        assert not queries & {shot.frame.key for shot in episode.supports}
        assert [len(clip) for clip in episode.clips] == [3, 3, 3]
        assert episode.memories[0] == ()
        assert set(episode.memories[1]) <= set(episode.clips[0])
        assert set(episode.memories[2]) <= set(episode.clips[0] + episode.clips[1])


def test_clips_of_a_video_end_at_the_released_places():
    frames = tuple(LabelledFrame(f"f{i}", Path(), (8, 8), lambda _: np.ones((8, 8), dtype=bool)) for i in range(23))
    video = LabelledVideo("long", frames, {1: tuple(range(23))})
    other = LabelledVideo("other", frames[:1], {1: (0,)})
    sampler = EpisodeSampler([video, other], [1], clip_length=5, clips=3)
    for number in range(30):
        episode = sampler.draw(1, number)
        if (
            episode.supports[0].frame.key == "f0"
            and len(episode.clips[0]) == 5
            and episode.clips[0][0].frame != frames[0]
        ):
            ends = [int(clip[-1].frame.key[1:]) + 1 for clip in episode.clips]
            assert ends == sorted(ends)
            assert set(ends) <= {5, 10, 15, 20}


def test_too_few_videos_are_told(stills):
    with pytest.raises(DatasetError, match="class 9 is shown by 0 videos"):
        EpisodeSampler(stills, [9])
    with pytest.raises(ConfigError, match="least_videos"):
        split_categories(stills, [1, 2], least=50, held_out=1)


def test_held_out_classes_are_not_trained_on(stills):
    train, held = split_categories(stills, [1, 2], least=2, held_out=3)
    assert sorted(train + held) == [1, 2]
    assert len(train) == 2


def test_views_move_picture_and_mask_together(stills):
    frame = next(v for v in stills if 1 in v.shown).frames[0]
    for view in range(4):
        shot = Shot(frame, view)
        picture, mask = shot_picture(shot, SIZE), shot_mask(shot, 1, SIZE)
        red = picture[..., 0].astype(int) - picture[..., 2] > 100
        assert (red & mask).sum() / (red | mask).sum() > 0.8


def test_cached_features_are_the_encoded_ones_in_half_precision(tiny_network, stills):
    shots = [Shot(video.frames[0], 0) for video in stills[:3]]
    kept, fresh = FeatureCache(tiny_network, 1 << 30), FeatureCache(tiny_network, 0)
    first = kept.get(shots)
    assert kept.bytes > 0
    assert fresh.bytes == 0
    for a, b, c in zip(first.blocks, kept.get(shots).blocks, fresh.get(shots).blocks, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    assert fresh.bytes == 0


def test_noise_is_reproducible_and_leaves_masks_of_all_qualities():
    masks = torch.zeros(300, 20, 30, dtype=torch.bool)  # one in 16 stays untouched
    masks[:, 5:15, 8:22] = True
    noisy = noisy_masks(masks, torch.Generator().manual_seed(0))
    assert torch.equal(noisy, noisy_masks(masks, torch.Generator().manual_seed(0)))
    iou = (noisy & masks).sum((1, 2)) / (noisy | masks).sum((1, 2))
    assert 0.02 < (iou == 1).float().mean() < 0.12
    assert iou.min() < 0.4
    assert ((iou > 0.5) & (iou < 0.95)).any()


@pytest.mark.parametrize("iou_training", ["real", "noisy", "mixed"])
def test_one_step_reaches_every_trained_parameter(small, stills, iou_training):
    torch.manual_seed(0)
    task = VIPMTTask(
        recipe(small, iou_training=iou_training),
        VIPMTNetwork(small).train(),
        EpisodeSampler(stills, [1, 2], shots=2, clip_length=2),
    )
    batch = task.collate([task.sample(number) for number in (0, 1)])
    assert {item.episode.category for item in batch} == {1, 2}
    losses = task.loss(batch, torch.device("cpu"))
    torch.testing.assert_close(losses["total"], sum(value for name, value in losses.items() if name != "total"))
    losses["total"].backward()
    for name, parameter in task.network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name


def test_a_batch_needs_as_many_classes(small, stills):
    with pytest.raises(ConfigError, match="batch_size 3 needs as many classes"):
        VIPMTTask(recipe(small, train={"batch_size": 3}), VIPMTNetwork(small), EpisodeSampler(stills, [1, 2]))


@pytest.mark.slow
def test_training_learns_the_two_classes(small, stills, tmp_path, awaken):
    from fewmask.training.loop import train

    torch.manual_seed(0)
    sampler = EpisodeSampler(stills, [1, 2], shots=2, clip_length=2)
    network = awaken(VIPMTNetwork(replace(small, feature_dropout=0.0, attention_dropout=0.0, head_dropout=0.0)))
    task = VIPMTTask(
        recipe(small, validation_episodes=6, train={"steps": 60, "learning_rate": 3e-3}), network, sampler, sampler
    )
    before = task.validate()["j"]
    figures = train(task, task.recipe.train, tmp_path, device=torch.device("cpu"))
    assert figures["j"] > before + 0.1
    VIPMT.from_pretrained(tmp_path / "weights")


def test_before_memory_is_used_an_episode_may_be_cut_to_its_first_clips(small, stills):
    def losses(**changes):
        torch.manual_seed(0)
        task = VIPMTTask(
            recipe(small, **changes),
            VIPMTNetwork(replace(small, feature_dropout=0.0, attention_dropout=0.0, head_dropout=0.0)),
            EpisodeSampler(stills, [1, 2], shots=2, clip_length=2, clips=2),
        )
        return task.loss([task.sample(4), task.sample(5)], torch.device("cpu"))  # step 2

    one, both = losses(clips=1), losses(clips=2)
    assert losses(memory_after=3, clips_before_memory=1) == one
    assert losses(memory_after=2, clips_before_memory=1) == both
    assert one["main"] < losses(memory_after=3)["main"] != both["main"]


def test_that_share_of_the_training_clips_is_blind(small, stills, monkeypatch):
    task = VIPMTTask(
        recipe(small, blind=0.5), VIPMTNetwork(small), EpisodeSampler(stills, [1, 2], shots=2, clip_length=2, clips=2)
    )
    seen, segment = [], task.features.network.segment
    monkeypatch.setattr(
        task.features.network, "segment", lambda *a, blind=False: (seen.append(blind), segment(*a, blind=blind))[1]
    )
    for number in range(0, 8, 2):
        task.loss([task.sample(number), task.sample(number + 1)], torch.device("cpu"))
    assert len(seen) == 16
    assert 3 <= sum(seen) <= 13
    before, seen[:] = list(seen), []
    task.loss([task.sample(0), task.sample(1)], torch.device("cpu"))
    assert seen == before[:4]


@pytest.mark.parametrize("name", ["paper", "small_coco_mini", "small_baseline"])
def test_recipes_are_valid(name):
    path = Path(__file__).parents[2] / "recipes" / "vipmt" / f"{name}.toml"
    VIPMTRecipe.model_validate(tomllib.loads(path.read_text()))


def test_fresh_views_are_ever_new_and_a_small_number_repeats(stills):
    fresh, few = (EpisodeSampler(stills, [1, 2], shots=2, clip_length=2, views=views) for views in (0, 3))
    seen = {
        sampler.views: [shot.view for n in range(40) for shot in sampler.draw(1, n).clips[0]]
        for sampler in (fresh, few)
    }
    assert len(set(seen[0])) == len(seen[0])
    assert set(seen[3]) == {0, 1, 2}


def test_views_change_colours_but_leave_the_bars_black(stills):
    frame = next(v for v in stills if 1 in v.shown).frames[0]
    wide = (SIZE[0], SIZE[1] + 32)
    pictures = [shot_picture(Shot(frame, view), wide) for view in range(0, 40, 2)]
    reds = {int(np.median(picture[..., 0][picture[..., 0] > 0])) for picture in pictures}
    assert len(reds) > 5
    whole = shot_picture(Shot(frame, 0), wide)
    assert not whole[:, :16].any()


def crowd():
    """Ten videos of 12 frames that show class 1; the first three show class 2 too, and three more show it alone."""
    frames = tuple(LabelledFrame(f"f{i}", Path(), (8, 8), lambda _: np.ones((8, 8), dtype=bool)) for i in range(12))
    always = tuple(range(12))
    both = [LabelledVideo(f"both {i}", frames, {1: always, 2: always}) for i in range(3)]
    one = [LabelledVideo(f"one {i}", frames, {1: always}) for i in range(7)]
    two = [LabelledVideo(f"two {i}", frames, {2: always}) for i in range(3)]
    return [
        LabelledVideo(
            v.name, tuple(LabelledFrame(f"{v.name}/{f.key}", f.path, f.size, f.mask_of) for f in v.frames), v.shown
        )
        for v in (*both, *one, *two)
    ]


def queries(sampler, count=200):
    return [sampler.draw(1, n).clips[0][0].frame.key.split("/")[0] for n in range(count)]


def test_queries_may_be_asked_to_show_other_classes_or_not_the_class():
    videos = crowd()
    plain = queries(EpisodeSampler(videos, [1, 2]))
    assert 0.15 < np.mean([name.startswith("both") for name in plain]) < 0.45
    assert not any(name.startswith("two") for name in plain)
    assert all(name.startswith("both") for name in queries(EpisodeSampler(videos, [1, 2], crowded=1.0)))
    absent = queries(EpisodeSampler(videos, [1, 2], absent=0.3))
    assert 0.15 < np.mean([name.startswith("two") for name in absent]) < 0.45


def test_supports_never_come_from_the_query(stills):
    for changes in ({}, {"crowded": 1.0}, {"absent": 0.5}):
        sampler = EpisodeSampler(crowd(), [1, 2], shots=3, **changes)
        for number in range(50):
            episode = sampler.draw(1, number)
            query = episode.clips[0][0].frame.key.split("/")[0]
            assert query not in {shot.frame.key.split("/")[0] for shot in episode.supports}
            assert len(episode.supports) == 3


def test_frames_of_a_clip_may_lie_apart():
    sampler = EpisodeSampler(crowd(), [1, 2], clip_length=3, clip_stride=3)
    for number in range(20):
        for clip in sampler.draw(1, number).clips:
            places = [int(shot.frame.key.split("/f")[1]) for shot in clip]
            assert np.diff(places).tolist() == [3, 3]


def test_validation_tells_whether_prototypes_depend_on_what_they_see(small, stills):
    torch.manual_seed(0)
    sampler = EpisodeSampler(stills, [1, 2], shots=2, clip_length=2, clips=2)
    task = VIPMTTask(recipe(small, validation_episodes=4), VIPMTNetwork(small).eval(), sampler, sampler)
    figures = task.validate()
    assert set(figures) == {"j", "j_memory", "j_prior", "j_other", "score_error", "differing"}
    assert 0 < figures["differing"] < 1
    for iteration in task.network.transformer.iterations:  # prototypes made constant
        for post in (iteration.exemplar_post, iteration.clip_post, iteration.frame_post):
            post.second_norm.weight.data.zero_()
    constant = task.validate()
    assert constant["differing"] < 1e-6


def test_files_with_the_same_class_names_are_one_data_set(stills):
    second = [
        LabelledVideo(
            "clip", (LabelledFrame("f", Path(), (4, 4), lambda c: np.full((4, 4), c == 7)),), {7: (0,), 1: (0,)}
        ),
    ]
    videos, names = merged_videos([(list(stills), {1: "a", 2: "b"}), (second, {7: "b", 1: "c"})])
    assert names == {1: "a", 2: "b", 3: "c"}
    clip = videos[-1]
    assert dict(clip.shown) == {2: (0,), 3: (0,)}
    assert clip.frames[0].mask_of(2).all()
    assert not clip.frames[0].mask_of(1).any()
    assert len({video.name for video in videos}) == len(videos) == len(stills) + 1
    assert sum(2 in video.shown for video in videos) == sum(2 in video.shown for video in stills) + 1


def test_a_picture_does_not_show_a_class_that_a_teacher_is_mostly_unsure_of(tmp_path):
    def square(key, category, side, **extra):
        outline = [[0, 0, side, 0, side, side, 0, side]]
        return {"id": key, "image_id": 1, "category_id": category, "segmentation": outline, "iscrowd": 0, **extra}

    annotations = [square(1, 1, 20), square(2, 1, 19, unknown=True), square(3, 2, 20), square(4, 2, 5, unknown=True)]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 40}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    (still,) = videos_of_coco(read_coco(tmp_path / "instances.json"), (1, 2))
    assert set(still.shown) == {2}
    assert still.frames[0].mask_of(2).sum() == 400


def test_training_goes_on_from_weights_but_for_the_parts_named_anew(small, tmp_path):
    torch.manual_seed(0)
    first, second, third = VIPMTNetwork(small), VIPMTNetwork(small), VIPMTNetwork(replace(small, iterations=3))
    save_network(first.state_dict(), small, tmp_path)
    load_start(second, tmp_path, ("transformer.", "iou_net."))
    for name, value in second.state_dict().items():
        assert torch.equal(value, first.state_dict()[name]) or name.startswith(("transformer.", "iou_net.")), name
    assert not torch.equal(second.transformer.prototype, first.transformer.prototype)
    with pytest.raises(CheckpointError, match=r"no tensor 'transformer\.iterations\.2.*anew"):
        load_start(third, tmp_path)
    load_start(third, tmp_path, ("transformer.",))


def test_iou_net_learns_from_pictures_of_its_own(small, stills):
    torch.manual_seed(0)
    seen, own = EpisodeSampler(stills, [1, 2], shots=2, clip_length=2), EpisodeSampler(stills[5:], [1], shots=2)
    network = VIPMTNetwork(small).train()
    task = VIPMTTask(recipe(small, iou_training="noisy"), network, seen, judged=own)
    batch = [task.sample(number) for number in (0, 1)]
    assert {item.judged.category for item in batch} == {1}
    alone = VIPMTTask(recipe(small, iou_training="noisy"), network, seen)
    torch.manual_seed(0)
    losses = task.loss(batch, torch.device("cpu"))
    torch.manual_seed(0)
    others = alone.loss([alone.sample(number) for number in (0, 1)], torch.device("cpu"))
    torch.testing.assert_close(losses["main"], others["main"])
    assert losses["score"] != others["score"]


def test_data_for_iou_net_is_refused_where_it_learns_from_predictions(small, stills, tmp_path):
    with pytest.raises(ConfigError, match="iou_training"):
        make_task(recipe(small, iou_training="real"), tmp_path, tmp_path, iou_data=tmp_path)


def test_without_structural_maps_made_up_masks_come_without_them_too(small, stills, monkeypatch):
    monkeypatch.setattr("fewmask.vipmt.train.structural_similarity_maps", None)
    network = VIPMTNetwork(replace(small, structural_maps=False)).train()
    sampler = EpisodeSampler(stills, [1, 2], shots=2, clip_length=2)
    task = VIPMTTask(recipe(small, network={"structural_maps": False}, iou_training="noisy"), network, sampler)
    task.loss([task.sample(number) for number in (0, 1)], torch.device("cpu"))["total"].backward()
