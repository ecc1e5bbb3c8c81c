"""Attention of the fuser: equal to weights computed plainly, and pictures that are there."""

import cv2
import numpy as np
import pytest
import torch

from fewmask.errors import ConfigError, VideoError
from fewmask.selfshot import attention_figure
from fewmask.selfshot.attention import Attention
from fewmask.selfshot.attention_figure import draw_attention, fuser_attention, received
from fewmask.selfshot.transformer import CommonInstanceTransformer, TransformerConfig

TINY = TransformerConfig(
    backbone="mobilenet_v2", width=24, heads=2, feed_forward=32, dropout=0.0, encoder_layers=1, fuser_layers=2,
    decoder_layers=1, slots=2, frames=2, support_frames=2, size=(32, 48), mask_levels=(16, 16, 8), mask_channels=8,
)  # fmt: skip


def test_received_weights_equal_plain_attention(monkeypatch):
    monkeypatch.setattr(attention_figure, "ROWS", 3)
    torch.manual_seed(0)
    attention = Attention(8, 2, 0.0).requires_grad_(False)
    query, key = torch.randn(7, 8), torch.randn(5, 8)
    plain = torch.zeros(5)
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = attention.query(query)[:, part] @ attention.key(key)[:, part].T / 2
        plain += scores.softmax(1).mean(0) / 2
    with torch.no_grad():
        found = received(attention, query, key)
    torch.testing.assert_close(found, plain * 5)
    assert float(found.mean()) == pytest.approx(1)


def test_shapes_and_shares():
    torch.manual_seed(0)
    network = CommonInstanceTransformer(TINY).eval()
    clip = torch.randint(0, 255, (2, 32, 48, 3), dtype=torch.uint8)
    supports = [clip[:1], torch.randint(0, 255, (2, 32, 48, 3), dtype=torch.uint8)]
    found = fuser_attention(network, clip, supports)
    assert found.query.shape == (2, 2, 3)
    assert [part.shape for part in found.supports] == [(1, 2, 3), (2, 2, 3)]
    assert float(found.query.mean()) == pytest.approx(1, abs=1e-4)
    assert float(torch.cat([part.flatten() for part in found.supports]).mean()) == pytest.approx(1, abs=1e-4)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_without_a_fuser_there_is_nothing_to_draw():
    network = CommonInstanceTransformer(TINY.model_copy(update={"fuser_layers": 0}))
    with pytest.raises(ConfigError, match="no fuser layer"):
        fuser_attention(network, torch.zeros(2, 32, 48, 3, dtype=torch.uint8), [])


def test_the_strip_is_red_where_attention_is(tmp_path):
    pictures = torch.full((3, 40, 60, 3), 128, dtype=torch.uint8)
    shares = torch.zeros(3, 4, 6)
    shares[:, :, :2] = 2.0
    draw_attention(pictures, shares, tmp_path / "strip.png", most=2)
    strip = cv2.imread(str(tmp_path / "strip.png"))
    assert strip.shape == (80, 120, 3)
    blue, _, red = strip[60, 5]
    assert red > blue
    blue, _, red = strip[60, 55]
    assert blue > red
    assert np.all(strip[:40] == 128)
    with pytest.raises(VideoError, match="cannot be written"):
        draw_attention(pictures, shares, tmp_path / "none" / "strip.png")
