import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.vipmt.attention import OUTSIDE, MaskedAttention

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def literal_masked_attention(layer: MaskedAttention, prototype, tokens, inside):
    """Eq 4 word by word, keys and values projected token by token, plus the output projection."""
    query, keys, values = layer.query(prototype), layer.key(tokens), layer.value(tokens)
    logits = query @ keys.T / prototype.shape[-1] ** 0.5 + (~inside).to(tokens.dtype) * OUTSIDE
    return layer.output(logits.softmax(-1) @ values)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), tokens=st.integers(1, 40), share=st.floats(0, 1))
def test_equals_equation_4(seed, tokens, share):
    torch.manual_seed(seed)
    layer = MaskedAttention(12, 0.1).double().eval()
    prototype, features = torch.randn(12, dtype=torch.float64), torch.randn(tokens, 12, dtype=torch.float64)
    inside = torch.rand(tokens) < share
    torch.testing.assert_close(
        layer(prototype, features, inside), literal_masked_attention(layer, prototype, features, inside)
    )


@pytest.mark.parametrize("dtype", TYPES)
def test_an_empty_mask_attends_everywhere_without_nan(dtype):
    torch.manual_seed(0)
    layer = MaskedAttention(16, 0.1).to(dtype).eval()
    prototype, tokens = torch.randn(16, dtype=dtype), 30 * torch.randn(50, 16, dtype=dtype)
    empty = layer(prototype, tokens, torch.zeros(50, dtype=torch.bool))
    assert torch.isfinite(empty).all()
    assert torch.equal(empty, layer(prototype, tokens, torch.ones(50, dtype=torch.bool)))


@pytest.mark.parametrize("dtype", TYPES)
def test_tokens_outside_the_mask_do_not_matter(dtype):
    torch.manual_seed(0)
    layer = MaskedAttention(16, 0.0).to(dtype).eval()
    prototype, tokens = torch.randn(16, dtype=dtype), torch.randn(20, 16, dtype=dtype)
    inside = torch.arange(20) < 7
    changed = tokens.clone()
    changed[7:] *= -50
    assert torch.equal(layer(prototype, tokens, inside), layer(prototype, changed, inside))


def test_a_batch_equals_its_members():
    torch.manual_seed(0)
    layer = MaskedAttention(8, 0.0).double().eval()
    prototypes, tokens = torch.randn(4, 8).double(), torch.randn(4, 10, 8).double()
    inside = torch.rand(4, 10) < 0.5
    together = layer(prototypes, tokens, inside)
    for i in range(4):
        torch.testing.assert_close(together[i], layer(prototypes[i], tokens[i], inside[i]))
