from dataclasses import replace

import pytest
import torch

from fewmask.errors import ConfigError, FewmaskError
from fewmask.vipmt.config import VIPMTConfig
from fewmask.vipmt.network import VIPMTNetwork


def scene(frames=3, supports=4, size=(48, 80), seed=0):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(frames, 3, *size, generator=generator)
    support = torch.randn(supports, 3, *size, generator=generator)
    masks = torch.zeros(supports, *size)
    for i in range(supports):
        masks[i, 8 : 30 + i, 10 * i : 10 * i + 30] = 1
    return query, support, masks


@pytest.fixture(scope="module")
def network(tiny_network):
    return tiny_network


@torch.no_grad()
def test_the_order_of_supports_does_not_matter(network):
    query, support, masks = scene()
    order = [2, 0, 3, 1]
    first, second = network(query, support, masks), network(query, support[order], masks[order])
    torch.testing.assert_close(first.logits, second.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first.prior, second.prior)


@torch.no_grad()
def test_a_memory_of_no_frames_is_no_memory(network):
    query, support, masks = scene()
    none = network(query, support, masks)
    empty = network(query, support, masks, query[:0], torch.zeros(0, 48, 80))
    assert torch.equal(none.logits, empty.logits)
    assert torch.equal(none.iou_scores, empty.iou_scores)


@torch.no_grad()
def test_memory_changes_the_result(network):
    query, support, masks = scene()
    remembered = network(query, support, masks, query[:2], masks[:2])
    assert not torch.equal(remembered.logits, network(query, support, masks).logits)


@torch.no_grad()
def test_blind_tokens_are_the_same_for_every_class_and_the_iterations_alone_tell(network):
    query, pictures, masks = scene()
    features, size = network.encode(query), (48, 80)
    first, second = (network.exemplars(network.encode(pictures), shown) for shown in (masks, 1 - masks))
    seeing, blind, other = (
        network.segment(features, size, first), network.segment(features, size, first, blind=True),
        network.segment(features, size, second, blind=True),
    )  # fmt: skip
    assert torch.equal(blind.query.tokens, other.query.tokens)
    assert not torch.equal(blind.query.tokens, seeing.query.tokens)
    assert not torch.equal(blind.iterations[0].clip_prototype, other.iterations[0].clip_prototype)


@torch.no_grad()
def test_softmaxes_apart_are_those_of_the_equations(network):
    """Eq 2 looks at supports alone, eq 13 at memory alone."""
    query, support, masks = scene()
    apart = VIPMTNetwork(replace(network.config, exemplar_softmax="apart")).eval()
    apart.load_state_dict(network.state_dict())
    assert torch.equal(apart(query, support, masks).logits, network(query, support, masks).logits)  # no memory
    joint = network(query, support, masks, query[:2], masks[:2]).iterations[0].clip_prototype
    assert not torch.equal(joint, apart(query, support, masks, query[:2], masks[:2]).iterations[0].clip_prototype)
    iteration = apart.transformer.iterations[0]
    shown = apart.exemplars(apart.encode(support), masks)
    recalled = apart.exemplars(apart.encode(query[:2]), masks[:2])
    together = apart.exemplars(apart.encode(torch.cat((support, query[:2]))), torch.cat((masks, masks[:2])))
    start = apart.transformer.prototype
    found = iteration._exemplar_prototypes(start, together, len(support))
    for alone, ours in zip((shown, recalled), found, strict=True):
        expected, _ = iteration._exemplar_prototypes(start, alone, len(alone))
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("size", [(48, 80), (50, 83), (17, 9), (64, 200)])
@pytest.mark.parametrize(("frames", "supports"), [(1, 1), (4, 2)])
@torch.no_grad()
def test_any_size_clip_and_number_of_supports(network, size, frames, supports):
    query, support, _ = scene(frames, supports, size)
    result = network(query, support, torch.ones(supports, *size))
    grid = (-(-size[0] // 8), -(-size[1] // 8))
    assert result.logits.shape == (frames, 2, *size)
    assert result.prior.shape == (frames, *grid)
    assert result.iou_scores.shape == (frames,)
    assert torch.isfinite(result.logits).all()
    assert ((result.iou_scores > 0) & (result.iou_scores < 1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@torch.no_grad()
def test_degenerate_masks_give_no_nan_in_any_precision(tiny_config, dtype):
    torch.manual_seed(1)
    network = VIPMTNetwork(tiny_config).eval().to(dtype)
    query, support, masks = scene(2, 3)
    masks[0], masks[1] = 0, 1
    result = network(query, support, masks, query, torch.zeros(2, 48, 80))
    assert torch.isfinite(result.logits).all()
    assert torch.isfinite(result.iou_scores).all()


@torch.no_grad()
def test_running_prior_is_the_mean_over_the_frames_so_far(tiny_config, network):
    running = VIPMTNetwork(replace(tiny_config, prior="running")).eval()
    running.load_state_dict(network.state_dict())
    query, support, masks = scene()
    own = network(query, support, masks).prior
    leaked = running(query, support, masks).prior
    for t in range(3):
        torch.testing.assert_close(leaked[t], own[: t + 1].mean(0))


@torch.no_grad()
def test_per_frame_prior_does_not_depend_on_other_frames(network):
    query, support, masks = scene()
    torch.testing.assert_close(network(query[1:2], support, masks).prior[0], network(query, support, masks).prior[1])


@torch.no_grad()
def test_ablations_differ(tiny_config):
    outputs = []
    for changes in ({}, {"frame_prototypes": False}, {"bidirectional": False}):
        torch.manual_seed(0)
        network = VIPMTNetwork(replace(tiny_config, **changes)).eval()
        network.load_state_dict(VIPMTNetwork(tiny_config).state_dict(), strict=False)
        outputs.append(network(*scene()).logits)
    assert not torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])


def test_the_backbone_stays_frozen(tiny_config):
    network = VIPMTNetwork(tiny_config).train()
    assert not network.backbone.training
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())


def test_wrong_shapes_are_told_in_one_line(network):
    query, support, masks = scene()
    with pytest.raises(FewmaskError, match=r"support: frames \[4, 3, 48, 80\] and masks \[4, 48, 79\]"):
        network(query, support, masks[..., 1:])
    with pytest.raises(FewmaskError, match="at least one"):
        network(query, support[:0], masks[:0])
    with pytest.raises(FewmaskError, match="memory_masks"):
        network(query, support, masks, query)


def test_a_timm_backbone_fits_the_same_socket(tiny_config):
    network = VIPMTNetwork(replace(tiny_config, backbone="timm:mobilenetv3_small_050")).eval()
    with torch.no_grad():
        assert network(*scene(1, 1)).logits.shape == (1, 2, 48, 80)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet9"}, "resnet9"),
        ({"fused_blocks": (0, 3)}, "fused_blocks"),
        ({"channels": 18}, "multiple"),
        ({"memory_threshold": 1.5}, "memory_threshold"),
        ({"prior": "none"}, "per_frame"),
    ],
)
def test_impossible_configurations(tiny_config, changes, message):
    with pytest.raises(ConfigError, match=message):
        VIPMTNetwork(replace(tiny_config, **changes))


def test_configuration_survives_json(tiny_config):
    import json

    assert VIPMTConfig.from_dict(json.loads(json.dumps(tiny_config.to_dict()))) == tiny_config
    with pytest.raises(ConfigError, match="colour"):
        VIPMTConfig.from_dict({"colour": 1})
