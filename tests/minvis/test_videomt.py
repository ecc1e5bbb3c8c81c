"""VidEoMT as a stream, against transformers on the whole clip."""

import numpy as np
import pytest
import torch
from transformers import VideomtConfig, VideomtForUniversalSegmentation

from fewmask.minvis.loading import load_segmenter
from fewmask.minvis.matching import match_queries
from fewmask.minvis.pixels import PixelNormalisation, as_images, normalise
from fewmask.minvis.videomt import VideomtSegmenter


@pytest.fixture
def model() -> VideomtForUniversalSegmentation:
    torch.manual_seed(0)
    config = VideomtConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=16, num_blocks=2,
        num_queries=5, num_labels=3, num_register_tokens=1,
    )  # fmt: skip
    return VideomtForUniversalSegmentation(config).eval()


def clip(length: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (length, 64, 64, 3), dtype=np.uint8)


def assert_equal_to_whole_clip(model, outputs):
    pixels = normalise(as_images(clip(), torch.device("cpu")), PixelNormalisation(), torch.float32)
    with torch.inference_mode():
        expected = model(pixel_values_videos=pixels[None])
    for name in ("class_queries_logits", "masks_queries_logits"):
        ours = torch.cat([getattr(output, name) for output in outputs])
        torch.testing.assert_close(ours, getattr(expected, name), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pieces", [(5,), (1, 1, 1, 1, 1), (2, 3)])
def test_pieces_of_any_length_equal_the_whole_clip(model, pieces):
    segmenter = VideomtSegmenter(model)
    for _ in range(2):  # after a reset, a video starts afresh
        parts = np.split(clip(), np.cumsum(pieces)[:-1])
        assert_equal_to_whole_clip(model, [segmenter(part) for part in parts])
        segmenter.reset()


def test_without_reset_the_last_video_is_remembered(model):
    segmenter = VideomtSegmenter(model)
    first = segmenter(clip(1)).class_queries_logits
    assert not torch.allclose(segmenter(clip(1)).class_queries_logits, first)


def test_identity_is_the_query_index(model):
    output = VideomtSegmenter(model)(np.zeros((2, 40, 90, 3), np.uint8))
    assert output.image_size == output.padded_size == (64, 64)
    assert match_queries(output.query_embeddings[0], output.query_embeddings[1]).tolist() == [0, 1, 2, 3, 4]


def test_round_trip_through_a_folder(model, tmp_path):
    segmenter = VideomtSegmenter(model)
    segmenter.save(tmp_path)
    again = load_segmenter(tmp_path)
    assert isinstance(again, VideomtSegmenter)
    assert_equal_to_whole_clip(model, [again(clip())])
