from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.ops import deform_conv2d

from fewmask.errors import CheckpointError, ConfigError, VideoError
from fewmask.media import rle
from fewmask.media.frames import Frame
from fewmask.retrieval.fixed_features import BUNDLED
from fewmask.selfshot.attention import FuserLayer
from fewmask.selfshot.frozen_maps import FrozenMaps
from fewmask.selfshot.mask_head import AttentionMaps, DeformableConv
from fewmask.selfshot.pretrained import load_transformer, save_transformer, start_backbone
from fewmask.selfshot.set_losses import clip_losses
from fewmask.selfshot.stream import SelfShotStream, StreamSettings, _Window, distinct, track_agreement
from fewmask.selfshot.tracks import ClipPrediction, ClipTargets, SlotPrediction
from fewmask.selfshot.transformer import (
    PAPER,
    CommonInstanceTransformer,
    EncodedSupports,
    TransformerConfig,
    likeness,
)

TINY = TransformerConfig(
    backbone="mobilenet_v2", width=24, heads=2, feed_forward=32, dropout=0.0, encoder_layers=1, fuser_layers=1,
    decoder_layers=2, slots=3, frames=4, support_frames=2, size=(48, 64), mask_levels=(16, 16, 8), mask_channels=8,
    common_map=True,
)  # fmt: skip

NO_SUPPORTS = EncodedSupports(torch.zeros(1, 24), ())
"""For networks that need none."""


def pictures(count, seed=0):
    return torch.randint(0, 256, (count, *TINY.size, 3), generator=torch.Generator().manual_seed(seed)).byte()


def drawn(network, supports):
    return network(pictures(4), supports).masks(torch.arange(3))


def started(config=TINY):
    """Untrained but for its backbone: a random one gives nearly the same features everywhere."""
    torch.manual_seed(0)
    network = CommonInstanceTransformer(config)
    start_backbone(network.backbone, resources.files("fewmask.retrieval") / "weights" / BUNDLED)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return started()


def test_shapes_and_gradients_of_every_part(network):
    query = pictures(4)
    prediction = network(query, network.encode_supports([pictures(2, 1), pictures(1, 2)]))
    assert prediction.slots.class_logits.shape == (4, 3, 2)
    assert prediction.slots.boxes.shape == (4, 3, 4)
    assert prediction.masks(torch.arange(3)).shape == (3, 4, 12, 16)
    assert prediction.common.shape == (4, 3, 4)
    assert len(prediction.auxiliary) == 1
    masks = torch.zeros(2, 4, 48, 64, dtype=torch.bool)
    masks[0, :3, 10:30, 5:25] = True
    masks[1, :, 30:44, 30:60] = True
    torch.stack(list(clip_losses(prediction, ClipTargets.from_masks(masks)).values())).sum().backward()
    without = {name for name, value in network.named_parameters() if value.grad is None or not value.grad.abs().sum()}
    # Key biases shift all scores of a query alike. The content of instances starts from zeros, as DETR's: in the first
    # layer all values are the bias, so their weights learn nothing, and whom to look at changes only the rounding.
    rounding = {f"decoder.0.self_attention.{part}.{kind}" for part in ("query", "key") for kind in ("weight", "bias")}
    learning_nothing = {name for name in without - rounding if not name.endswith("key.bias")}
    assert learning_nothing == {"decoder.0.self_attention.value.weight"}
    network.zero_grad()


def test_a_few_steps_fit_one_clip():
    network = started().train()
    masks = torch.zeros(1, 4, 48, 64, dtype=torch.bool)
    masks[0, :, 10:30, 5:35] = True
    query = pictures(4) // 4
    query[masks[0]] += 150
    targets, support = ClipTargets.from_masks(masks), pictures(2, 1)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    losses = []
    for _ in range(12):
        loss = torch.stack(
            list(clip_losses(network(query, network.encode_supports([support])), targets).values())
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.6 * losses[0]


def test_supports_are_encoded_alone_so_caching_and_joining_change_nothing(network):
    clips = [pictures(2, 1), pictures(1, 2)]
    with torch.inference_mode():
        joined = network.encode_supports(clips)
        apart = EncodedSupports.joined([network.encode_supports([clip]) for clip in clips])
    torch.testing.assert_close(joined.tokens, apart.tokens)
    assert joined.looks == apart.looks == ()
    with pytest.raises(ConfigError, match="no support"):
        network.encode_supports([])


def test_supports_matter_exactly_when_there_is_a_fuser(network):
    without = started(TINY.model_copy(update={"fuser_layers": 0}))
    with torch.inference_mode():
        for model, differs in [(network, True), (without, False)]:
            first, second = (drawn(model, model.encode_supports([pictures(2, seed)])) for seed in (1, 2))
            assert bool((first - second).abs().max() > 1e-6) is differs


def test_likeness_is_the_mean_over_supports_of_the_nearest_place_spread_over_the_clip():
    generator = torch.Generator().manual_seed(0)
    query, *supports = (functional.normalize(torch.randn(n, 5, generator=generator), dim=1) for n in (6, 4, 2))
    nearest = torch.tensor([sum(max(float(q @ s) for s in clip) for clip in supports) / 2 for q in query])
    expected = (nearest - nearest.mean()) / nearest.std(correction=0)
    assert torch.allclose(likeness(query, supports), expected, atol=1e-2)
    assert torch.allclose(likeness(query, supports), likeness(query, [clip.flip(0) for clip in supports[::-1]]))
    assert likeness(query[:1].expand(3, -1), supports).abs().max() < 0.01


def test_likeness_speaks_even_without_a_fuser_and_caching_changes_nothing():
    network = started(TINY.model_copy(update={"likeness": True, "fuser_layers": 0}))
    parts = [pictures(2, 1), pictures(1, 2)]
    with torch.inference_mode():
        supports = network.encode_supports(parts)
        assert supports.tokens.shape == (3 * 3 * 4, 24)
        assert [look.shape for look in supports.looks] == [(2 * 3 * 4, 160), (3 * 4, 160)]
        apart = EncodedSupports.joined([network.encode_supports([part]) for part in parts])
        for first, second in zip(supports.looks, apart.looks, strict=True):
            assert torch.equal(first, second)
        assert not torch.allclose(drawn(network, supports), drawn(network, network.encode_supports(parts[:1])))


@pytest.mark.parametrize(("position", "query", "support"), [("query", True, False), ("support", False, True)])
def test_position_codes_go_where_the_setting_says(position, query, support):
    plain = started(TINY.model_copy(update={"position": "none"}))
    coded = started(TINY.model_copy(update={"position": position}))
    with torch.inference_mode():
        for is_support, changes in [(False, query), (True, support)]:
            tokens = [model.encode(pictures(2), support=is_support).tokens for model in (plain, coded)]
            assert bool((tokens[0] - tokens[1]).abs().max() > 1e-6) is changes


def test_the_fuser_layer_is_equation_4_written_out():
    torch.manual_seed(0)
    layer = FuserLayer(12, 3, 20, 0.0).eval()
    e_q, e_s = torch.randn(7, 12), torch.randn(5, 12)
    state = layer.state_dict()

    def linear(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name, x):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def ma(name, q, k, v):
        q, k, v = (linear(f"{name}.{part}", x) for part, x in zip(("query", "key", "value"), (q, k, v), strict=True))
        heads = [(q[:, h] @ k[:, h].T / 2).softmax(-1) @ v[:, h] for h in (slice(0, 4), slice(4, 8), slice(8, 12))]
        return linear(f"{name}.out", torch.cat(heads, -1))

    f_q = norm("norm_query", e_q + ma("query_from_support", e_q, e_s, e_s))
    f_s = norm("norm_support", e_s + ma("support_from_query", e_s, e_q, e_q))
    fused = norm("norm_fused", f_q + ma("fuse", f_q, f_s, f_s))
    hidden = linear("feed_forward.layers.0", fused).relu()
    expected = norm("feed_forward.norm", fused + linear("feed_forward.layers.3", hidden))
    measured, support = layer(e_q, e_s)
    torch.testing.assert_close(measured, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(support, f_s, atol=1e-5, rtol=1e-4)


def test_attention_maps_are_distributions_over_the_own_frame():
    torch.manual_seed(0)
    maps = AttentionMaps(12, 3)
    instances, features = torch.randn(2, 4, 12), torch.randn(2, 5, 6, 12)
    weights = maps(instances, features)
    assert weights.shape == (4, 2, 3, 5, 6)
    torch.testing.assert_close(weights.sum((-1, -2)), torch.ones(4, 2, 3))
    features[1] = 0
    torch.testing.assert_close(maps(instances, features)[:, 0], weights[:, 0])


def test_a_deformable_convolution_starts_as_a_plain_one():
    torch.manual_seed(0)
    layer, x = DeformableConv(6, 4), torch.randn(2, 6, 9, 7)
    torch.testing.assert_close(layer(x), layer.conv(x), atol=1e-4, rtol=1e-4)


def test_a_deformable_convolution_knows_its_places_in_half_precision():
    torch.manual_seed(0)
    layer, x = DeformableConv(6, 4), torch.randn(1, 6, 40, 150)
    with torch.autocast("cpu", torch.bfloat16):
        found, plain = layer(x).float(), layer.conv(x).float()
    assert (found - plain).abs().mean() < 0.02 * plain.abs().mean()


def test_a_deformable_convolution_gives_torchvisions_values():
    torch.manual_seed(0)
    layer, x = DeformableConv(6, 4), torch.randn(2, 6, 9, 7)
    torch.nn.init.normal_(layer.offsets.weight)
    expected = deform_conv2d(x, layer.offsets(x), layer.conv.weight, layer.conv.bias, padding=1)
    assert layer.offsets(x).abs().max() > 3
    torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)


def test_only_the_chosen_slots_are_drawn(network):
    prediction = network(pictures(4), network.encode_supports([pictures(2)]))
    torch.testing.assert_close(
        prediction.masks(torch.tensor([2, 0])), prediction.masks(torch.arange(3))[[2, 0]], atol=1e-5, rtol=1e-4
    )


def test_maps_computed_before_serve_as_the_pictures_do(network):
    query, support = pictures(4), pictures(2, 1)
    with torch.inference_mode():
        first = network(query, network.encode_supports([support]))
        maps = network.backbone(query), network.backbone(support)
        second = network(maps[0], network.encode_supports([maps[1]]))
    torch.testing.assert_close(first.slots.boxes, second.slots.boxes)


def test_frozen_maps_are_computed_once_and_mirrored_in_place(network):
    asked = []

    def read(video, places):
        asked.append((video, *places))
        return pictures(8)[list(places)]

    cache = FrozenMaps(network.backbone, read)
    plain = cache.clip(1, (0, 2, 2), mirrored=False, device=torch.device("cpu"))
    expected = network.backbone(pictures(8)[[0, 2, 2]])
    torch.testing.assert_close(plain.stride16, expected.stride16, atol=1e-2, rtol=1e-2)
    mirrored = cache.clip(1, (2, 3), mirrored=True, device=torch.device("cpu"))
    torch.testing.assert_close(mirrored.stride4[0], plain.stride4[1].flip(-1))
    assert asked == [(1, 0, 2), (1, 3)]
    small = FrozenMaps(network.backbone, read, limit=0)
    for _ in range(2):
        small.clip(2, (0,), mirrored=False, device=torch.device("cpu"))
    assert asked[2:] == [(2, 0), (2, 0)]


def test_the_paper_network_can_be_built_and_widths_that_cannot_are_refused():
    with torch.device("meta"):
        network = CommonInstanceTransformer(PAPER)
    assert network.instance_codes.shape == (320, 288)
    assert network.reduce.in_channels == 1024
    assert not hasattr(network.backbone.body, "layer4")
    assert network.backbone.body.layer3[1].conv2.dilation == (2, 2)
    with pytest.raises(ConfigError, match="divisible by 6"):
        CommonInstanceTransformer(TINY.model_copy(update={"width": 32}))
    with pytest.raises(ConfigError, match="divisible by 8"):
        CommonInstanceTransformer(TINY.model_copy(update={"mask_channels": 10}))


def test_saved_weights_come_back_and_strange_ones_are_refused(network, tmp_path):
    save_transformer(network, tmp_path / "weights")
    again = load_transformer(tmp_path / "weights")
    with torch.inference_mode():
        support = network.encode_supports([pictures(1)])
        first, second = drawn(network, support), drawn(again, support)
    torch.testing.assert_close(first, second, atol=0.05, rtol=0.05)
    (tmp_path / "weights" / "transformer.json").write_text('{"width": 48}')
    with pytest.raises(CheckpointError, match="another network"):
        load_transformer(tmp_path / "weights")
    with pytest.raises(CheckpointError, match="not the description"):
        load_transformer(tmp_path)


class Oracle(torch.nn.Module):
    """Finds bright squares by their colour, in slots that are shuffled anew in every window."""

    config = TINY.model_copy(update={"frames": 8, "slots": 4, "size": (32, 48)})
    windows = 0

    def forward(self, frames, supports):
        self.windows += 1
        assert frames.shape == (8, 32, 48, 3)
        masks = torch.full((4, 8, 16, 24), -5.0)
        logits = torch.tensor([-4.0, 4.0]).expand(8, 4, 2).clone()
        for place, channel in enumerate((0, 1)):
            slot = (place + self.windows) % 4
            bright = frames[..., channel].float()[:, ::2, ::2] > 120
            masks[slot][bright] = 5.0
            logits[:, slot] = torch.tensor([4.0, -4.0])
            logits[~bright.flatten(1).any(1), slot] = torch.tensor([0.0, 2.0])
        return ClipPrediction(SlotPrediction(logits, torch.zeros(8, 4, 4)), masks.__getitem__, ())


def two_squares(count, gone=range(0)):
    for index in range(count):
        rgb = np.zeros((64, 96, 3), np.uint8)
        rgb[8:24, (index * 2) % 70 : (index * 2) % 70 + 16, 0] = 255
        if index not in gone:
            rgb[40:56, 60 - (index * 2) % 60 : 80 - (index * 2) % 60, 1] = 255
        yield Frame(index, index / 10, rgb)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 14, 40])
def test_every_frame_is_reported_once_and_ids_last_over_windows(count):
    stream = SelfShotStream(Oracle(), EncodedSupports(torch.zeros(1, 24), ()))
    results = [result for frame in two_squares(count) for result in stream.step(frame)] + stream.finish()
    assert [result.index for result in results] == list(range(count))
    owners = {}
    for result, frame in zip(results, two_squares(count), strict=True):
        for track_id, mask in zip(result.track_ids, result.masks, strict=True):
            channel = 0 if rle.decode(mask)[:32].any() else 1
            owners.setdefault(channel, set()).add(track_id)
            truth = frame.rgb[..., channel] > 0
            found = rle.decode(mask)
            assert (truth & found).sum() / (truth | found).sum() > 0.6
    assert sorted(map(len, owners.values())) == [1, 1]
    assert stream.finish() == []
    assert stream.state() is None


def test_a_track_is_absent_where_its_object_is():
    stream = SelfShotStream(Oracle(), EncodedSupports(torch.zeros(1, 24), ()), StreamSettings(min_score=0.4))
    results = [result for frame in two_squares(8, gone=range(3, 6)) for result in stream.step(frame)]
    seen = [sum(mask is not None for mask in result.masks) for result in results]
    assert seen == [2, 2, 2, 1, 1, 1, 2, 2]


class Doubtful(Oracle):
    """Hardly believes in what it finds."""

    def forward(self, frames, supports):
        prediction = super().forward(frames, supports)
        sure = prediction.slots.foreground[..., None] > 0.5
        logits = torch.where(sure, torch.tensor([0.0, 1.1]), torch.tensor([-4.0, 4.0]))
        return replace(prediction, slots=replace(prediction.slots, class_logits=logits))


def test_doubtful_tracks_have_masks_if_they_are_asked_for():
    for least, expected in [(0.5, 0), (0.1, 2)]:
        stream = SelfShotStream(Doubtful(), NO_SUPPORTS, StreamSettings(min_score=least))
        results = [result for frame in two_squares(8) for result in stream.step(frame)]
        assert [sum(mask is not None for mask in result.masks) for result in results] == [expected] * 8
        assert all(len(result.masks) == expected for result in results)  # none without a mask


def test_half_matches_do_not_displace_a_match():
    stream = SelfShotStream(Oracle(), NO_SUPPORTS)
    spans = np.zeros((4, 1, 1, 200), bool)
    for span, (first, last) in zip(spans, [(20, 120), (120, 167), (53, 153), (6, 53)], strict=True):
        span[..., first:last] = True
    agreement = track_agreement(spans[:2], spans[2:])
    assert agreement[0, 0] > 0.5
    assert 0.2 < agreement[0, 1] < 0.3
    assert 0.2 < agreement[1, 0] < 0.3
    stream._before, stream._next_id = _Window((1, 2), spans[:2]), 3
    assert stream._joined(spans[2:]) == (1, 3)


def test_a_long_stream_holds_one_window(network):
    stream = SelfShotStream(Oracle(), EncodedSupports(torch.zeros(1, 24), ()))
    for frame in two_squares(200):
        stream.step(frame)
        assert len(stream._frames) <= 8
        assert stream._before is None or stream._before.masks.shape[1] == 2


def test_frames_of_another_size_and_impossible_overlaps_are_refused():
    stream = SelfShotStream(Oracle(), EncodedSupports(torch.zeros(1, 24), ()))
    stream.step(Frame(0, 0.0, np.zeros((64, 96, 3), np.uint8)))
    with pytest.raises(VideoError, match="size"):
        stream.step(Frame(1, 0.1, np.zeros((64, 90, 3), np.uint8)))
    with pytest.raises(ConfigError, match="overlap 8"):
        SelfShotStream(Oracle(), EncodedSupports(torch.zeros(1, 24), ()), StreamSettings(overlap=8))


def test_of_two_slots_with_one_object_the_better_is_kept():
    masks = np.zeros((3, 2, 4, 4), bool)
    masks[0, :, :2] = masks[1, :, :2] = True
    masks[1, 0, 2] = True
    masks[2, :, 3] = True
    assert distinct(masks, np.array([0.6, 0.9, 0.3]), 0.5) == [1, 2]
    assert distinct(masks, np.array([0.9, 0.6, 0.3]), 0.5) == [0, 2]
    assert distinct(masks, np.array([0.9, 0.6, 0.3]), 0.9) == [0, 1, 2]
    assert distinct(masks[:0], np.zeros(0), 0.5) == []


def test_track_agreement_is_intersection_over_union_of_volumes():
    rows = np.zeros((2, 2, 4, 4), bool)
    rows[0, :, :2] = True
    columns = np.zeros((1, 2, 4, 4), bool)
    columns[0, 0] = True
    np.testing.assert_allclose(track_agreement(rows, columns), [[8 / 24], [0]])
    assert track_agreement(rows[1:], rows[1:]).item() == 0
