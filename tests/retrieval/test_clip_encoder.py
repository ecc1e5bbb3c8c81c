import os
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from small_pool import COLOURS, moving_square, write_video

from fewmask.errors import CheckpointError, ConfigError, DatasetError
from fewmask.retrieval.encoder import ClipEncoder, ClipNetwork, EncoderConfig, save_encoder
from fewmask.retrieval.fixed_features import FixedFeatures
from fewmask.retrieval.frame_store import FrameStore
from fewmask.retrieval.initial_weights import start_from
from fewmask.retrieval.momentum import NO_VIDEO, MomentumPair
from fewmask.retrieval.train import ClipEncoderRecipe, ClipEncoderTask
from fewmask.training.loop import train
from fewmask.training.settings import TrainSettings

TINY = EncoderConfig(
    backbone="vit_tiny_patch16_224", frames=3, side=32, dimension=24,
    backbone_options={"depth": 2, "embed_dim": 24, "num_heads": 2},
)  # fmt: skip
DATA = Path(os.environ.get("FEWMASK_DATA", Path(__file__).parents[3] / "shared"))


def clips(count, seed=0, frames=3, side=32):
    return np.random.default_rng(seed).integers(0, 256, (count, frames, side, side, 3)).astype(np.uint8)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ClipNetwork(TINY).eval()


def test_embeddings_are_unit_vectors_that_know_the_order_of_frames_once_the_code_is_learned(network):
    batch = torch.from_numpy(clips(2))
    with torch.no_grad():
        vectors = network(batch)
        assert vectors.shape == (2, 24)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))
        # The frame code starts at zero: the order of frames does not matter until training says so.
        torch.testing.assert_close(network(batch.flip(1)), vectors, atol=1e-5, rtol=0)
        network.frame_code.normal_()
        assert (network(batch.flip(1)) - network(batch)).abs().max() > 1e-4
        assert network(batch[:, :1]).shape == (2, 24)  # one frame alone, as instance NCE takes it


def test_a_saved_encoder_embeds_as_before_and_is_named_after_its_weights(network, tmp_path):
    save_encoder(network, tmp_path / "a")
    again = ClipEncoder.from_pretrained(tmp_path / "a")
    with torch.no_grad():
        expected = network(torch.from_numpy(clips(2))).numpy()
    np.testing.assert_allclose(again.embed(clips(2)), expected, atol=5e-3)
    more = np.repeat(clips(2), 3, axis=1)[:, 1:]  # of more pictures than it learned with it takes as many, evenly
    np.testing.assert_allclose(again.embed(more), expected, atol=5e-3)
    assert again.embed(clips(1, side=48)).shape == (1, 24)  # pictures of another size are resized
    with torch.no_grad():
        network.frame_code += 1
    save_encoder(network, tmp_path / "b")
    assert ClipEncoder.from_pretrained(tmp_path / "b").name != again.name
    with pytest.raises(CheckpointError, match="not the description"):
        ClipEncoder.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="dimension = 24"):
        ClipNetwork(TINY.model_copy(update={"dimension": 32}))
    with pytest.raises(ConfigError, match="timm"):
        ClipNetwork(EncoderConfig(backbone="no_such_network"))


def test_transformers_vit_weights_give_the_same_features(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96, image_size=32, patch_size=16,
        layer_norm_eps=1e-6,
    )  # fmt: skip
    torch.manual_seed(1)
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "vit.safetensors")
    network = ClipNetwork(TINY.model_copy(update={"frames": 1})).eval()
    start_from(network, tmp_path / "vit.safetensors")
    picture = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        theirs = model(pixel_values=picture).last_hidden_state[:, 0]
        ours = network.backbone(picture)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_filters_over_two_frames_are_summed_and_keys_without_bias_get_none(network, tmp_path):
    state = network.backbone.state_dict()
    theirs = {"videomae.embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"]}
    filters = torch.randn(24, 3, 2, 16, 16)
    theirs["videomae.embeddings.patch_embeddings.projection.weight"] = filters
    for layer in range(2):
        block, name = f"blocks.{layer}", f"videomae.encoder.layer.{layer}"
        weights = torch.randn(72, 24).chunk(3)
        for part, weight in zip(("query", "key", "value"), weights, strict=True):
            theirs[f"{name}.attention.attention.{part}.weight"] = weight.contiguous()
        theirs[f"{name}.attention.attention.q_bias"] = torch.ones(24)
        theirs[f"{name}.attention.attention.v_bias"] = torch.full((24,), 2.0)
        for ours, other in [
            ("norm1", "layernorm_before"), ("norm2", "layernorm_after"), ("attn.proj", "attention.output.dense"),
            ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"),
        ]:  # fmt: skip
            for kind in ("weight", "bias"):
                theirs[f"{name}.{other}.{kind}"] = state[f"{block}.{ours}.{kind}"].clone()
    theirs |= {f"videomae.layernorm.{kind}": state[f"norm.{kind}"].clone() for kind in ("weight", "bias")}
    save_file(theirs, tmp_path / "mae.safetensors")
    start_from(network, tmp_path / "mae.safetensors")
    torch.testing.assert_close(network.backbone.patch_embed.proj.weight, filters.sum(2))
    bias = network.backbone.blocks[1].attn.qkv.bias
    assert bias.tolist() == [1.0] * 24 + [0.0] * 24 + [2.0] * 24
    del theirs["videomae.encoder.layer.1.output.dense.bias"]
    save_file(theirs, tmp_path / "less.safetensors")
    with pytest.raises(CheckpointError, match=r"blocks\.1\.mlp\.fc2\.bias"):
        start_from(network, tmp_path / "less.safetensors")


def test_keys_follow_slowly_and_the_queue_turns_round(network):
    pair = MomentumPair(network, 5)
    with torch.no_grad():
        network.frame_code.fill_(1.0)
    pair.follow(0.9)
    torch.testing.assert_close(pair.key_encoder.frame_code, torch.full_like(network.frame_code, 0.1))
    assert pair.queue_videos.tolist() == [NO_VIDEO] * 5
    pair.enqueue(torch.ones(3, 24), torch.tensor([1, 2, 3]))
    pair.enqueue(torch.ones(4, 24), torch.tensor([4, 5, 6, 7]))
    assert pair.queue_videos.tolist() == [6, 7, 3, 4, 5]
    pair.enqueue(torch.ones(9, 24), torch.arange(10, 19))
    assert sorted(pair.queue_videos.tolist()) == [14, 15, 16, 17, 18]
    assert not any(parameter.requires_grad for parameter in pair.key_encoder.parameters())


@pytest.fixture
def videos(tmp_path):
    return [
        write_video(tmp_path / f"{name}.mp4", moving_square(colour, 20, seed=seed))
        for seed, (name, colour) in enumerate(COLOURS.items())
    ]


def recipe(**changes):
    settings = TrainSettings(steps=4, batch_size=2, learning_rate=1e-3, clip_norm=1.0, warmup=0, log_every=2)
    facts = {"network": TINY, "clips_per_video": 2, "clip_pictures": 6, "queue": 6, "train": settings, **changes}
    return ClipEncoderRecipe(**facts)


@pytest.mark.parametrize("objective", ["instance", "mil_nce", "rank", "printed_rank"])
def test_each_objective_trains_and_leaves_an_encoder(videos, tmp_path, objective):
    task = ClipEncoderTask(recipe(objective=objective, hold_out=2), videos, tmp_path / "frames")
    (tmp_path / "run").mkdir()
    figures = train(task, task.recipe.train, tmp_path / "run", device=torch.device("cpu"))
    assert 0 <= figures["same_video_at_1"] <= 1
    assert ClipEncoder.from_pretrained(tmp_path / "run" / "weights").embed(clips(1)).shape == (1, 24)


def test_a_killed_training_goes_on_exactly(videos, tmp_path):
    def run(folder, steps, resume):
        task = ClipEncoderTask(recipe(), videos, tmp_path / "frames")
        settings = task.recipe.train.model_copy(update={"steps": steps, "checkpoint_every": 1})
        (tmp_path / folder).mkdir(exist_ok=True)
        train(task, settings, tmp_path / folder, device=torch.device("cpu"), resume=resume)
        return task.network.state_dict()

    whole = run("whole", 4, False)
    run("parts", 2, False)
    parts = run("parts", 4, True)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value)


@pytest.mark.parametrize("objective", ["instance", "rank"])
def test_fixed_views_of_a_frozen_backbone_are_seen_once(videos, tmp_path, objective):
    shape = EncoderConfig(backbone="mobilenet_v2", frames=3, side=32, dimension=1280)
    settings = recipe(network=shape, objective=objective, backbone_rate=0, views=4, clips_per_video=2)
    task = ClipEncoderTask(settings, videos, tmp_path / "frames")
    (tmp_path / "run").mkdir()
    seen = []
    features = ClipNetwork.backbone_features
    task.network.query_encoder.backbone_features = lambda clips: (
        seen.append(len(clips)) or features(task.network.query_encoder, clips)
    )
    train(task, settings.train, tmp_path / "run", device=torch.device("cpu"))
    assert task.sample(0).clips.shape == (2, 1280)
    assert 0 < len(seen) == len(task._views) <= 16
    with pytest.raises(ConfigError, match="nothing is left"):
        ClipEncoderTask(recipe(backbone_rate=0), videos, tmp_path / "frames")
    with pytest.raises(ValidationError, match="backbone_rate 0"):
        recipe(views=4)
    with pytest.raises(ValidationError, match="at least"):
        recipe(views=1, backbone_rate=0)


def test_own_clips_in_the_queue_are_no_negatives(videos, tmp_path):
    task = ClipEncoderTask(recipe(), videos, tmp_path / "frames")
    pair, batch = task.network, task.collate([task.sample(0)])
    losses = []
    with torch.no_grad():
        own = pair.query_encoder(batch.clips[:, 0])
        for owner in (NO_VIDEO, int(batch.videos[0]), 99):
            pair.queue[:], pair.queue_videos[:] = own, owner
            losses.append(task.loss(batch, torch.device("cpu"))["total"].item())
    assert losses[:2] == [0, 0]
    assert losses[2] > 0.1


def test_samples_depend_on_their_number_alone_and_stored_frames_are_decoded_once(videos, tmp_path):
    task = ClipEncoderTask(recipe(), videos, tmp_path / "frames")
    first = task.sample(5)
    assert first.clips.shape == (2, 3, 32, 32, 3)
    other = ClipEncoderTask(recipe(), videos, tmp_path / "other")
    assert (other.sample(5).clips == first.clips).all()
    assert {task.sample(number).video for number in range(4)} == {0, 1, 2, 3}
    assert len(list((tmp_path / "frames").iterdir())) == 4
    stored = FrameStore(tmp_path / "frames").read(videos[0])
    assert stored.picture(0).shape == (72, 128, 3)
    assert stored.shots.tolist() == [0] * len(stored.pictures)
    with pytest.raises(DatasetError, match="at least two"):
        ClipEncoderTask(recipe(), videos[:1], tmp_path / "frames")


@pytest.mark.data
def test_real_fixed_features_put_clips_of_one_video_together():
    weights = DATA / "weights" / "mobilenet_v2_imagenet.safetensors"
    if not weights.exists():
        pytest.skip("the weights are not here")
    embedder = FixedFeatures.load(weights)
    cat = np.zeros((1, 5, 64, 64, 3), np.uint8)
    cat[:, :, 16:48, 16:48] = 200
    vectors = embedder.embed(np.concatenate([cat, np.clip(cat.astype(int) + 8, 0, 255).astype(np.uint8), 255 - cat]))
    assert vectors.shape == (3, 1280)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    with pytest.raises(CheckpointError, match="MobileNetV2"):
        FixedFeatures.load(DATA / "weights" / "resnet50_imagenet_caffe.safetensors")
