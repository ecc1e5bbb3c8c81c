"""Mask2Former's query decoder at inference: the last layer's queries, and no more work than they need.

Same parameters and results as transformers' decoder, which is built for training and for every output:

* the gate of layer i needs mask logits at the size of level i only. Resizing is linear, so the mask *features* are
  resized once per level, instead of the full-size mask logits of every layer;
* the attention itself is torch's fused kernel, which forms no weights and takes the gate once, not per head;
* class logits and full-size masks are left to the caller, for the last layer alone.

Positions, gates and residual sums are computed in float32 (or float64) whatever autocast does to matrix products;
`ExactPositions` is the same care for the pixel decoder.
"""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.models.position import sine_code, sine_position_2d


def last_layer_queries(decoder: Any, levels: list[Tensor], mask_features: Tensor, *, together: bool = False) -> Tensor:
    """The normalised output of the last decoder layer, which class head, mask head and tracker read.

    Args:
        decoder: transformers' ``Mask2FormerTransformerModule``, post-norm, in evaluation mode.
        levels: encoder maps [B, C, h, w] at strides 32, 16, 8.
        mask_features: [B, C, H / 4, W / 4].
        together: the B maps are frames of one clip, over all of which one set of queries looks, as Mask2Former does for
            videos: a code of the frame's time is added to that of the place.

    Returns:
        [B, Q, C]; with ``together`` [1, Q, C].
    """
    layers, norm = decoder.decoder.layers, decoder.decoder.layernorm
    values, keys, gate_features = [], [], []
    for index, level in enumerate(levels):
        size = (level.shape[-2], level.shape[-1])
        exact = _exact(level.dtype)
        tokens = decoder.input_projections[index](level).flatten(2).transpose(1, 2).to(exact)
        value = tokens + decoder.level_embed.weight[index].to(exact)  # [B, h w, C]
        values.append(value)
        keys.append(value + _positions(size, value.shape[-1], level.device, exact))
        resized = functional.interpolate(mask_features.to(exact), size, mode="bilinear", align_corners=False)
        gate_features.append(resized.flatten(2))  # [B, C, h w]
    if together:
        times = _times(len(mask_features), values[0])[:, None]
        keys = [(key + times).flatten(0, 1)[None] for key in keys]
        values = [value.flatten(0, 1)[None] for value in values]
        gate_features = [features.transpose(0, 1).flatten(1)[None] for features in gate_features]  # [1, C, B h w]
    batch = 1 if together else len(mask_features)
    position = decoder.queries_embedder.weight.to(values[0].dtype)  # [Q, C]
    queries = decoder.queries_features.weight.to(values[0].dtype).expand(batch, -1, -1)
    for index, layer in enumerate(layers):
        level_index = index % len(levels)
        gate = _gate(decoder, norm(queries), gate_features[level_index])
        seen = _cross_attention(layer.cross_attn, queries + position, keys[level_index], values[level_index], gate)
        queries = layer.cross_attn_layer_norm(queries + seen)
        queries = layer.self_attn_layer_norm(queries + _self_attention(layer.self_attn, queries + position, queries))
        queries = layer.final_layer_norm(queries + layer.fc2(layer.activation_fn(layer.fc1(queries))))
    normalised: Tensor = norm(queries)
    return normalised


def mask_logits(decoder: Any, embeddings: Tensor, mask_features: Tensor) -> Tensor:
    """Mask of every query over the whole map: its mask vector times the pixel embeddings (Section 3.1).

    Args:
        decoder: transformers' ``Mask2FormerTransformerModule``.
        embeddings: [B, Q, C] of `last_layer_queries`.
        mask_features: [B, C, h, w].

    Returns:
        [B, Q, h, w], at least float32.
    """
    exact = _exact(mask_features.dtype)
    with torch.autocast(mask_features.device.type, enabled=False):
        vectors = decoder.decoder.mask_predictor.mask_embedder(embeddings.to(exact))
        logits: Tensor = vectors @ mask_features.to(exact).flatten(2)
    return logits.view(*logits.shape[:2], *mask_features.shape[-2:])


def _gate(decoder: Any, normalised: Tensor, features: Tensor) -> Tensor:
    """Where each query may look, bool [B, 1, Q, h w]: inside its own mask so far, or everywhere if that is empty."""
    with torch.autocast(features.device.type, enabled=False):
        vectors = decoder.decoder.mask_predictor.mask_embedder(normalised.to(features.dtype))
        inside: Tensor = vectors @ features >= 0  # sigmoid >= 0.5
    return (inside | ~inside.any(dim=-1, keepdim=True))[:, None]


def _cross_attention(
    attention: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, gate: Tensor
) -> Tensor:
    """``nn.MultiheadAttention`` without its attention weights; batch first."""
    weight_q, weight_k, weight_v = attention.in_proj_weight.chunk(3)
    bias_q, bias_k, bias_v = attention.in_proj_bias.chunk(3)
    return _attend(
        functional.linear(query, weight_q, bias_q),
        functional.linear(key, weight_k, bias_k),
        functional.linear(value, weight_v, bias_v),
        attention.num_heads,
        attention.out_proj,
        gate,
    )


def _self_attention(attention: Any, query: Tensor, value: Tensor) -> Tensor:
    projected = attention.q_proj(query), attention.k_proj(query), attention.v_proj(value)
    return _attend(*projected, attention.num_heads, attention.out_proj, None)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int, out: nn.Module, gate: Tensor | None) -> Tensor:
    mixed = functional.scaled_dot_product_attention(
        _heads(query, heads), _heads(key, heads), _heads(value, heads), attn_mask=gate
    )  # [B, heads, Q, C / heads]
    result: Tensor = out(mixed.transpose(1, 2).flatten(2))
    return result


def _heads(tensor: Tensor, heads: int) -> Tensor:
    batch, tokens, width = tensor.shape
    return tensor.view(batch, tokens, heads, width // heads).transpose(1, 2)


def _times(frames: int, like: Tensor) -> Tensor:
    """Codes of the frames of a clip, [T, C]: sine and cosine, the last frame at 2 pi."""
    steps = torch.arange(1, frames + 1, dtype=like.dtype, device=like.device) / (frames + 1e-6)
    return sine_code(steps * 2 * math.pi, like.shape[-1])


def _exact(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


class ExactPositions(nn.Module):
    """Takes the place of transformers' position code, which is wrong by up to 0.03 when built in bfloat16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, shape: torch.Size, device: torch.device, dtype: torch.dtype, mask: None = None) -> Tensor:  # noqa: ARG002
        """The code of maps of ``shape`` [B, C, h, w], at least float32, [1, width, h, w]."""
        size = (shape[-2], shape[-1])
        return _positions(size, self.width, device, _exact(dtype)).T.view(1, self.width, *size)


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)  # what is kept must serve training too
def _positions(size: tuple[int, int], width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """DETR's sine code of a map as tokens, [h w, width]."""
    code = sine_position_2d(*size, width, like=torch.empty(0, dtype=dtype, device=device))
    return code.flatten(1).T.contiguous()
