"""The lean query decoder against transformers'."""

import pytest
import torch
from transformers import Mask2FormerConfig
from transformers.models.mask2former import modeling_mask2former as mask2former

from fewmask.models.masked_attention import ExactPositions, last_layer_queries, mask_logits


@pytest.fixture(params=[32, 48], ids=["same width", "projected input"])
def case(request):
    """A random decoder and its inputs in float64; 48 channels in need a projection."""
    torch.manual_seed(0)
    config = Mask2FormerConfig(
        hidden_dim=32, mask_feature_size=request.param, dim_feedforward=64, num_attention_heads=4, decoder_layers=8,
        num_queries=9,
    )  # fmt: skip
    decoder = mask2former.Mask2FormerTransformerModule(in_features=request.param, config=config).double().eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(std=0.3)
    levels = [torch.randn(2, request.param, 2 * 2**i, 3 * 2**i, dtype=torch.float64) for i in range(3)]
    return decoder, levels, torch.randn(2, request.param, 16, 24, dtype=torch.float64)


@torch.inference_mode()
def test_equals_the_last_layer_of_transformers(case):
    decoder, levels, mask_features = case
    expected = decoder(multi_scale_features=levels, mask_features=mask_features)
    embeddings = last_layer_queries(decoder, levels, mask_features)
    torch.testing.assert_close(embeddings, expected.intermediate_hidden_states[-1].transpose(0, 1))
    torch.testing.assert_close(
        mask_logits(decoder, embeddings, mask_features), expected.masks_queries_logits[-1]
    )  # fmt: skip
    # The gates are worth testing only if they are open in part.
    share = torch.cat([(masks > 0).double().flatten() for masks in expected.masks_queries_logits]).mean()
    assert 0.1 < share < 0.9


@torch.inference_mode()
def test_a_query_with_an_empty_mask_looks_everywhere(case):
    decoder, levels, mask_features = case
    with torch.no_grad():  # all mask logits negative
        last = decoder.decoder.mask_predictor.mask_embedder.layers[-1].layers[0]
        last.weight.zero_()
        last.bias.fill_(-1)
    mask_features = mask_features.abs()
    expected = decoder(multi_scale_features=levels, mask_features=mask_features)
    torch.testing.assert_close(
        last_layer_queries(decoder, levels, mask_features), expected.intermediate_hidden_states[-1].transpose(0, 1)
    )


def test_exact_positions_equal_those_of_transformers():
    theirs = mask2former.Mask2FormerSinePositionEmbedding(num_position_features=16, normalize=True)
    shape = torch.Size((1, 8, 5, 7))
    expected = theirs(shape, torch.device("cpu"), torch.float64)
    ours = ExactPositions(32)
    torch.testing.assert_close(ours(shape, torch.device("cpu"), torch.float64), expected)
    assert ours(shape, torch.device("cpu"), torch.bfloat16).dtype == torch.float32
