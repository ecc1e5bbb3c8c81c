"""EoMT behind the segmenter's face."""

import numpy as np
import pytest
import torch
from transformers import EomtConfig, EomtForUniversalSegmentation
from transformers.models.eomt.image_processing_eomt import EomtImageProcessor

from fewmask.errors import VideoError
from fewmask.minvis.eomt import EomtSegmenter
from fewmask.minvis.loading import load_segmenter


@pytest.fixture
def model() -> EomtForUniversalSegmentation:
    torch.manual_seed(0)
    config = EomtConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=16, num_blocks=2,
        num_queries=5, num_labels=3, num_register_tokens=1,
    )  # fmt: skip
    return EomtForUniversalSegmentation(config).eval()


def frames(height: int = 48, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def test_equals_transformers_with_its_own_processor(model):
    processor = EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True)
    pixels = processor(list(frames()), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = model(pixels)
    output = EomtSegmenter(model)(frames())
    assert (output.padded_size, output.image_size) == ((64, 64), (32, 64))
    assert output.query_embeddings.shape == (2, 5, 16)
    assert output.masks_queries_logits.shape == (2, 5, 16, 16)  # stride 4
    torch.testing.assert_close(output.class_queries_logits, expected.class_queries_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.masks_queries_logits, expected.masks_queries_logits, atol=1e-3, rtol=1e-3)
    recomputed = model.class_predictor(output.query_embeddings)
    torch.testing.assert_close(recomputed, output.class_queries_logits)


def test_round_trip_through_a_folder(model, tmp_path):
    segmenter = EomtSegmenter(model)
    segmenter.save(tmp_path)
    again = load_segmenter(tmp_path)
    assert isinstance(again, EomtSegmenter)
    assert (again.num_classes, again.short_side) == (3, None)
    torch.testing.assert_close(again(frames()).masks_queries_logits, segmenter(frames()).masks_queries_logits)


def test_frames_of_another_kind_are_refused(model):
    with pytest.raises(VideoError, match="uint8"):
        EomtSegmenter(model)(frames().astype(np.float32))
