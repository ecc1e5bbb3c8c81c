"""The clip baseline: one set of queries over a window, equal to transformers' decoder on frames side by side."""

import copy
import math

import numpy as np
import pytest
import torch
from test_segmenter import random_frames, tiny_model
from torch.nn import functional

from fewmask.errors import ConfigError, VideoError
from fewmask.minvis.clip_mask2former import ClipMask2Former
from fewmask.minvis.mask2former import Mask2FormerSegmenter
from fewmask.minvis.pixels import PixelNormalisation, prepare_pixels
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.models.position import sine_code, sine_position_2d


def plain_clip(model, frames):
    """Mask2Former over all tokens of a clip, written plainly with the modules' own attention."""
    pixels, _ = prepare_pixels(
        frames, PixelNormalisation(), short_side=None, max_size=1333, device=torch.device("cpu"), dtype=torch.float64
    )
    network, decoder = model.model, model.model.transformer_module
    features = network.pixel_level_module.encoder(pixels).feature_maps
    maps = network.pixel_level_module.decoder(features)
    norm, embedder = decoder.decoder.layernorm, decoder.decoder.mask_predictor.mask_embedder
    count = len(frames)
    times = sine_code(torch.arange(1, count + 1).double() / (count + 1e-6) * 2 * math.pi, 32)
    queries, places = decoder.queries_features.weight, decoder.queries_embedder.weight
    for index, layer in enumerate(decoder.decoder.layers):
        level = index % 3
        tokens, codes, gates = [], [], []
        vectors = embedder(norm(queries))
        for t in range(count):
            one = maps.multi_scale_features[level][t]
            tokens.append(
                decoder.input_projections[level](one[None])[0].flatten(1).T + decoder.level_embed.weight[level]
            )
            codes.append(sine_position_2d(*one.shape[-2:], 32, like=one).flatten(1).T + times[t])
            logits = torch.einsum("qc,chw->qhw", vectors, maps.mask_features[t])
            small = functional.interpolate(logits[None], one.shape[-2:], mode="bilinear", align_corners=False)[0]
            gates.append(small.flatten(1) >= 0)
        value, gate = torch.cat(tokens), torch.cat(gates, 1)
        gate = gate | ~gate.any(1, keepdim=True)
        seen, _ = layer.cross_attn(queries + places, value + torch.cat(codes), value, attn_mask=~gate)
        queries = layer.cross_attn_layer_norm(queries + seen)
        attention = layer.self_attn
        q, k, v = attention.q_proj(queries + places), attention.k_proj(queries + places), attention.v_proj(queries)
        mixed = []
        for a, b, c in zip(q.chunk(4, 1), k.chunk(4, 1), v.chunk(4, 1), strict=True):
            mixed.append(torch.softmax(a @ b.T / math.sqrt(8), 1) @ c)
        queries = layer.self_attn_layer_norm(queries + attention.out_proj(torch.cat(mixed, 1)))
        queries = layer.final_layer_norm(queries + layer.fc2(layer.activation_fn(layer.fc1(queries))))
    final = norm(queries)
    masks = torch.einsum("qc,tchw->tqhw", embedder(final), maps.mask_features)
    return model.class_predictor(final), masks, final


def test_equals_the_plain_decoder_over_all_frames():
    model = tiny_model().double()
    plain = copy.deepcopy(model)
    clip = ClipMask2Former(Mask2FormerSegmenter(model), window=3)
    frames = random_frames(3)
    output = clip(frames)
    with torch.no_grad():
        plain.model.pixel_level_module.decoder.position_embedding = (
            model.model.pixel_level_module.decoder.position_embedding
        )
        classes, masks, embeddings = plain_clip(plain, frames)
    for t in range(3):
        torch.testing.assert_close(output.class_queries_logits[t], classes)
        torch.testing.assert_close(output.query_embeddings[t], embeddings)
    torch.testing.assert_close(output.masks_queries_logits, masks)


def test_windows_are_apart_without_overlap():
    clip = ClipMask2Former(Mask2FormerSegmenter(tiny_model()), window=2)
    frames = random_frames(5)
    whole = clip(frames)
    assert len(whole.class_queries_logits) == 5
    clip.reset()
    parts = [clip(frames[:2]), clip(frames[2:4]), clip(frames[4:])]
    torch.testing.assert_close(whole.masks_queries_logits, torch.cat([part.masks_queries_logits for part in parts]))
    assert torch.equal(whole.query_embeddings[0], whole.query_embeddings[1])
    assert not torch.equal(whole.query_embeddings[1], whole.query_embeddings[2])


def test_overlap_looks_back_and_reset_forgets():
    clip = ClipMask2Former(Mask2FormerSegmenter(tiny_model()), window=2, overlap=1)
    frames = random_frames(4)
    clip(frames[:2])
    second = clip(frames[2:])
    wide = ClipMask2Former(Mask2FormerSegmenter(tiny_model()), window=3)(frames[1:])
    torch.testing.assert_close(second.masks_queries_logits, wide.masks_queries_logits[1:])
    clip.reset()
    alone = ClipMask2Former(Mask2FormerSegmenter(tiny_model()), window=2)(frames[2:])
    torch.testing.assert_close(clip(frames[2:]).masks_queries_logits, alone.masks_queries_logits)


def test_a_video_goes_through_it():
    clip = ClipMask2Former(Mask2FormerSegmenter(tiny_model(), short_side=None), window=4, overlap=1)
    results = list(MinVIS(clip).stream(list(random_frames(6)), StreamSettings(batch=4)))
    assert len(results) == 6


def test_what_cannot_be_is_refused():
    segmenter = Mask2FormerSegmenter(tiny_model())
    with pytest.raises(ConfigError, match="window 0"):
        ClipMask2Former(segmenter, window=0)
    with pytest.raises(VideoError):
        ClipMask2Former(segmenter)(np.zeros((2, 5, 5), np.uint8))
