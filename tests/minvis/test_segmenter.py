"""The Mask2Former segmenter: input preparation, what it returns, saving and loading."""

import copy
import json

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig

from fewmask.errors import CheckpointError, ConfigError, VideoError
from fewmask.minvis.loading import load_segmenter
from fewmask.minvis.mask2former import Mask2FormerSegmenter
from fewmask.minvis.pixels import PixelNormalisation, prepare_pixels, resized_size


def tiny_model(seed: int = 0, num_labels: int = 3) -> Mask2FormerForUniversalSegmentation:
    torch.manual_seed(seed)
    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 32, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        dim_feedforward=64,
        encoder_layers=2,
        decoder_layers=5,
        num_attention_heads=4,
        num_queries=7,
        num_labels=num_labels,
    )
    return Mask2FormerForUniversalSegmentation(config).eval()


def random_frames(count: int = 2, height: int = 50, width: int = 70, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_output_equals_the_plain_transformers_forward():
    model = tiny_model().double()
    plain_model = copy.deepcopy(model)
    segmenter = Mask2FormerSegmenter(model)
    frames = random_frames()
    output = segmenter(frames)
    assert output.padded_size == (64, 96)
    assert output.image_size == (50, 70)
    pixels, _ = prepare_pixels(
        frames, PixelNormalisation(), short_side=None, max_size=1333, device=torch.device("cpu"), dtype=torch.float64
    )
    with torch.no_grad():
        plain = plain_model(pixels, output_hidden_states=True)
    torch.testing.assert_close(output.class_queries_logits, plain.class_queries_logits)
    torch.testing.assert_close(output.masks_queries_logits, plain.masks_queries_logits)
    normalised = model.model.transformer_module.decoder.layernorm(plain.transformer_decoder_last_hidden_state)
    torch.testing.assert_close(output.query_embeddings, normalised)
    assert output.masks_queries_logits.shape == (2, 7, 16, 24)


def test_padding_is_zero_after_normalisation():
    frames = np.full((1, 33, 40, 3), 200, dtype=np.uint8)
    normalisation = PixelNormalisation(mean=(100.0, 50.0, 0.0), std=(10.0, 10.0, 50.0))
    pixels, size = prepare_pixels(
        frames, normalisation, short_side=None, max_size=1333, device=torch.device("cpu"), dtype=torch.float32
    )
    assert size == (33, 40)
    assert pixels.shape == (1, 3, 64, 64)
    assert pixels[0, :, :33, :40].flatten(1).unique(dim=1).flatten().tolist() == [10.0, 15.0, 4.0]
    assert pixels[0, :, 33:].abs().max() == 0
    assert pixels[0, :, :, 40:].abs().max() == 0


@pytest.mark.parametrize(
    ("size", "short_side", "max_size", "expected"),
    [
        ((720, 1280), 360, 1333, (360, 640)),
        ((1280, 720), 360, 1333, (640, 360)),
        ((90, 122), None, 1333, (90, 122)),
        ((100, 1000), 200, 1333, (133, 1333)),  # the long side decides
        ((480, 853), 360, 1333, (360, 640)),
    ],
)
def test_resized_size(size, short_side, max_size, expected):
    assert resized_size(*size, short_side, max_size) == expected


def test_resizing_keeps_the_mean_of_a_smooth_frame():
    ramp = np.linspace(0, 255, 80).astype(np.uint8)
    frames = np.broadcast_to(ramp[None, None, :, None], (1, 60, 80, 3))
    output, size = prepare_pixels(
        torch.from_numpy(frames.copy()),
        PixelNormalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        short_side=30,
        max_size=1333,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    assert size == (30, 40)
    assert abs(float(output[0, :, :30, :40].mean()) - float(frames.mean())) < 0.5


@pytest.mark.parametrize(
    "frames", [np.zeros((4, 5, 3), np.uint8), np.zeros((1, 4, 5, 3), np.float32), np.zeros((0, 4, 5, 3), np.uint8)]
)
def test_frames_of_another_kind_are_refused(frames):
    with pytest.raises(VideoError, match="uint8"):
        Mask2FormerSegmenter(tiny_model())(frames)


def test_bfloat16_autocast_stays_close_and_returns_float32():
    frames = random_frames()
    exact = Mask2FormerSegmenter(tiny_model())(frames)
    rounded = Mask2FormerSegmenter(tiny_model(), autocast_dtype=torch.bfloat16)(frames)
    assert rounded.masks_queries_logits.dtype == torch.float32
    difference = (rounded.class_queries_logits - exact.class_queries_logits).abs().median()
    assert 0 < difference < 0.05  # a gate at its threshold may flip, and single values with it


def test_half_precision_weights_are_refused_with_advice():
    with pytest.raises(ConfigError, match="autocast_dtype"):
        Mask2FormerSegmenter(tiny_model().half())


def test_folder_round_trip_and_transformers_reads_it(tmp_path):
    model = tiny_model(num_labels=2)
    model.config.id2label = {0: "cat", 1: "dog"}
    segmenter = Mask2FormerSegmenter(model, short_side=128)
    segmenter.save(tmp_path)
    again = load_segmenter(tmp_path)
    assert again.categories == {0: "cat", 1: "dog"}
    assert again.num_classes == 2
    assert again.short_side == 128
    np.testing.assert_allclose(again.normalisation.mean, segmenter.normalisation.mean)
    frames = random_frames(1)
    torch.testing.assert_close(again(frames).masks_queries_logits, segmenter(frames).masks_queries_logits)
    theirs = Mask2FormerForUniversalSegmentation.from_pretrained(tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(theirs.state_dict().values(), model.state_dict().values(), strict=True)
    )
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert processor.size["shortest_edge"] == 128


def test_a_folder_written_by_transformers_loads(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    loaded = load_segmenter(tmp_path)
    assert loaded.short_side == 360  # no preprocessor_config.json: the default
    frames = random_frames(1)
    torch.testing.assert_close(
        loaded(frames).class_queries_logits, Mask2FormerSegmenter(model)(frames).class_queries_logits
    )


def test_missing_or_foreign_checkpoints_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        load_segmenter(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="'bert'"):
        load_segmenter(tmp_path)
