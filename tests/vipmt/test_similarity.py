import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
