"""At initialisation prototypes depend on what they see."""

from dataclasses import replace

import pytest
import torch
from tiny_vipmt import awaken

from fewmask.vipmt.collapse import differing_share
from fewmask.vipmt.config import SMALL
from fewmask.vipmt.network import VIPMTNetwork

CONFIG = replace(SMALL, input_size=(64, 96), iou_grid=(2, 3))


def clip_prototypes(network):
    """G^ci of the last iteration for six pairs of a clip and a support, [6, C]."""
    generator = torch.Generator().manual_seed(2)
    found = []
    for index in range(6):
        colour = torch.randn(3, 1, 1, generator=generator)
        pictures = colour + torch.randn(3, 3, 64, 96, generator=generator)
        masks = torch.zeros(1, 64, 96)
        masks[:, 8 : 32 + 4 * index, 16 : 40 + 8 * index] = 1
        with torch.inference_mode():
            found.append(network(pictures[:2], pictures[2:], masks).iterations[-1].clip_prototype)
    return torch.stack(found)


@pytest.fixture
def untrained():
    torch.manual_seed(0)
    return awaken(VIPMTNetwork(CONFIG)).eval()


def with_default_scales(network):
    """What torch does by itself, G_0 and the prior's column from N(0, 1): how it once was."""
    torch.manual_seed(0)
    activation = network.activation
    for layer in (
        activation.adjust_query, activation.adjust_support, activation.merge_query, activation.merge_support
    ):  # fmt: skip
        layer.reset_parameters()
    torch.nn.init.normal_(activation.merge_query.weight[:, -1])
    torch.nn.init.normal_(network.transformer.prototype)
    for iteration in network.transformer.iterations:
        for attention in (iteration.exemplar_attention, iteration.clip_attention, iteration.frame_attention):
            attention.value.reset_parameters()
            attention.output.reset_parameters()
    return network


def test_prototypes_differ_between_inputs_before_any_training(untrained):
    assert differing_share(clip_prototypes(untrained)) > 0.01


def test_under_default_scales_they_hardly_do(untrained):
    assert differing_share(clip_prototypes(with_default_scales(untrained))) < 0.003


def test_the_prior_is_heard_and_does_not_drown_the_features(untrained):
    weight = untrained.activation.merge_query.weight[:, :, 0, 0]
    prior, others = weight[:, -1].square().sum(), weight[:, :-1].square().sum()
    assert 0.03 < prior / (prior + others) < 0.3


def test_share_of_prototypes_known_by_hand():
    assert differing_share(torch.ones(4, 3)) == 0
    # mean 0, all of the energy differs
    assert differing_share(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(1)
    # mean (2, 0), deviation 1 each way: 1 of 5
    assert differing_share(torch.tensor([[2.0, 1.0], [2.0, -1.0]])) == pytest.approx(0.2)
