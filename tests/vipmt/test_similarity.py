from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.similarity import EPS, min_max, pool_channels, prior_maps, region_pixels, structural_similarity_maps


def literal_best(query, keys):
    """Cosine of every pixel with every pixel of masked maps; query [P, n], keys [P, m] -> [n]."""
    dots = query.T @ keys
    norms = query.norm(dim=0)[:, None] * keys.norm(dim=0) + EPS
    return (dots / norms).max(1).values


def scene(seed, frames=2):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(frames, 6, 4, 5, dtype=torch.float64, generator=generator)
    masks = torch.rand(frames, 4, 5, generator=generator) < 0.4
    masks[:, 0, 0], masks[:, 3, 4] = True, False
    return features, masks


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_prior_equals_masked_maps_literally(seed):
    query, _ = scene(seed, 3)
    support, masks = scene(seed + 1, 2)
    regions = [region_pixels(f, m) for f, m in zip(support, masks, strict=True)]
    for t, prior in enumerate(prior_maps(query, regions)):
        literal = [
            min_max(literal_best(query[t].flatten(1), (f * m).flatten(1))[None])[0]
            for f, m in zip(support, masks, strict=True)
        ]
        torch.testing.assert_close(prior.flatten(), torch.stack(literal).mean(0))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_structural_maps_equal_masked_maps_literally(seed):
    features, inside = scene(seed)
    support, masks = scene(seed + 1)
    regions = [region_pixels(f, m) for f, m in zip(support, masks, strict=True)]
    maps = structural_similarity_maps(features, inside, regions)
    key = torch.cat([(f * m).flatten(1) for f, m in zip(support, masks, strict=True)], dim=1)
    for t in range(len(features)):
        foreground, background = (features[t] * inside[t]).flatten(1), (features[t] * ~inside[t]).flatten(1)
        pairs = ((background, key), (foreground, key), (foreground, background), (background, foreground))
        for number, (rows, columns) in enumerate(pairs):
            literal = min_max(literal_best(rows, columns)[None])[0]
            torch.testing.assert_close(maps[t, number].flatten(), literal)


def test_empty_and_full_predictions_give_finite_maps_in_range():
    features, _ = scene(3)
    inside = torch.stack((torch.zeros(4, 5, dtype=torch.bool), torch.ones(4, 5, dtype=torch.bool)))
    maps = structural_similarity_maps(features, inside, [features[0].flatten(1).T[:3]])
    assert torch.isfinite(maps).all()
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_channels_are_pooled_adaptively():
    features = torch.arange(8.0).view(1, 8, 1, 1)
    assert pool_channels(features, 4).flatten().tolist() == [0.5, 2.5, 4.5, 6.5]


def test_fused_prior_compares_both_blocks_with_the_supports_mean(tiny_network, tiny_config):
    config = replace(tiny_config, prior_features="fused", fused_blocks=(3, 4))
    network = VIPMTNetwork(config).eval()
    network.backbone.load_state_dict(tiny_network.backbone.state_dict())
    generator = torch.Generator().manual_seed(3)
    clip, picture = (torch.randn(n, 3, *config.input_size, generator=generator) for n in (2, 1))
    mask = torch.zeros(1, *config.input_size)
    mask[:, 8:32, 16:48] = 1
    with torch.no_grad():
        prior = network(clip, picture, mask).prior
        query, support = network.encode(clip), network.encode(picture)

    def unit(features, frame, row, column):
        parts = [features.blocks[block - 1][frame, :, row, column] for block in (3, 4)]
        return torch.cat([part / part.norm() for part in parts])

    inside = mask[0, ::8, ::8].nonzero().tolist()
    mean = torch.stack([unit(support, 0, row, column) for row, column in inside]).mean(0)
    for frame in range(2):
        cosine = torch.tensor(
            [
                [
                    max(float(unit(query, frame, row, column) @ mean / mean.norm() / 2**0.5), 0.0)
                    for column in range(prior.shape[2])
                ]
                for row in range(prior.shape[1])
            ]
        )
        expected = (cosine - cosine.min()) / (cosine.max() - cosine.min())
        torch.testing.assert_close(prior[frame], expected, atol=1e-3, rtol=1e-3)
