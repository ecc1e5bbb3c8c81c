"""Deformable attention as a weighted sum of rows, against transformers' grid sampling."""

import pytest
import torch
from transformers import Mask2FormerConfig
from transformers.models.mask2former import modeling_mask2former as mask2former

from fewmask.models.deformable_attention import deformable_sum, use_fast_deformable_attention

SHAPES = ((3, 5), (6, 10), (12, 20))
TOKENS = sum(height * width for height, width in SHAPES)


def inputs(batch=2, heads=4, width=8, points=3, spread=3.0, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    value = torch.randn(batch, TOKENS, heads, width, dtype=dtype)
    offsets = spread * torch.randn(batch, TOKENS, heads, len(SHAPES), points, 2, dtype=dtype)
    weights = torch.randn(batch, TOKENS, heads, len(SHAPES) * points, dtype=dtype).softmax(-1)
    return value, offsets, weights.view(batch, TOKENS, heads, len(SHAPES), points)


def by_grid_sampling(value, offsets, weights):
    """transformers' function, with reference points at the pixel centres."""
    ratios = torch.ones(len(value), len(SHAPES), 2, dtype=value.dtype)
    points = mask2former.Mask2FormerPixelDecoderEncoderOnly.get_reference_points(SHAPES, ratios, value.device)
    sizes = torch.tensor([[width, height] for height, width in SHAPES], dtype=value.dtype)
    locations = points[:, :, None, :, None] + offsets / sizes[:, None]
    return mask2former.multi_scale_deformable_attention(value, list(SHAPES), locations, weights)


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0, 50.0])  # 50: most samples lie outside
def test_equals_grid_sampling(spread):
    value, offsets, weights = inputs(spread=spread)
    torch.testing.assert_close(
        deformable_sum(value, SHAPES, offsets, weights),
        by_grid_sampling(value, offsets, weights),
        atol=1e-5,
        rtol=0,
    )


def test_equals_grid_sampling_in_float64_at_every_edge():
    value, offsets, weights = inputs(dtype=torch.float64)
    offsets = offsets.round() / 2  # on pixel centres, on borders, exactly one beyond
    torch.testing.assert_close(
        deformable_sum(value, SHAPES, offsets, weights), by_grid_sampling(value, offsets, weights), atol=1e-12, rtol=0
    )


def test_gradients_equal_those_of_grid_sampling():
    gradients = []
    for function in (lambda *a: deformable_sum(a[0], SHAPES, a[1], a[2]), by_grid_sampling):
        value, offsets, weights = (tensor.requires_grad_() for tensor in inputs(dtype=torch.float64))
        result = function(value, offsets, weights)
        (result * torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)).sum().backward()
        gradients.append((value.grad, offsets.grad, weights.grad))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)


def test_positions_kept_from_inference_serve_training():
    shapes = ((2, 7),)  # of no other test: the first use decides what is kept
    value, weights = torch.randn(1, 14, 1, 2), torch.ones(1, 14, 1, 1, 1)
    offsets = torch.zeros(1, 14, 1, 1, 1, 2, requires_grad=True)
    with torch.inference_mode():
        deformable_sum(value, shapes, offsets, weights)
    deformable_sum(value, shapes, offsets, weights).sum().backward()
    assert offsets.grad is not None


def test_offsets_that_are_no_numbers_do_not_crash():
    value, offsets, weights = inputs()
    offsets[0, 0, 0, 0, 0] = torch.tensor([float("nan"), float("inf")])
    result = deformable_sum(value, SHAPES, offsets, weights)
    torch.testing.assert_close(result[1:], by_grid_sampling(value, offsets, weights)[1:], atol=1e-5, rtol=0)


def test_frames_of_a_batch_do_not_mix():
    value, offsets, weights = inputs()
    together = deformable_sum(value, SHAPES, offsets, weights)
    alone = deformable_sum(value[1:], SHAPES, offsets[1:], weights[1:])
    torch.testing.assert_close(together[1:], alone)


def test_bfloat16_values_keep_exact_positions():
    value, offsets, weights = inputs()
    rounded = deformable_sum(value.bfloat16(), SHAPES, offsets, weights)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), deformable_sum(value, SHAPES, offsets, weights), atol=0.03, rtol=0)


def test_replacement_in_a_pixel_decoder_changes_neither_result_nor_names():
    torch.manual_seed(0)
    config = Mask2FormerConfig(feature_size=32, encoder_feedforward_dim=64, num_attention_heads=4, encoder_layers=2)
    decoder = mask2former.Mask2FormerPixelDecoder(config, feature_channels=[8, 16, 24, 32]).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(std=0.2)
    features = [torch.randn(2, 8 * (i + 1), 32 // 2**i, 48 // 2**i) for i in range(4)]
    with torch.inference_mode():
        before = decoder(features)
        names = list(decoder.state_dict())
        assert use_fast_deformable_attention(decoder) == 2
        assert use_fast_deformable_attention(decoder) == 0
        after = decoder(features)
    assert list(decoder.state_dict()) == names
    torch.testing.assert_close(after.mask_features, before.mask_features, atol=1e-5, rtol=1e-5)
