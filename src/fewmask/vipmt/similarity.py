"""Best cosine match of pixels with the pixels of a region: what the prior and the structural maps are made of."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fewmask.vipmt.backbone import FrameFeatures
from fewmask.vipmt.config import VIPMTConfig

EPS = 1e-7


def pool_channels(features: Tensor, channels: int) -> Tensor:
    """X4 [N, C4, h, w] -> [N, channels, h, w], adaptive average pooling along the channel axis."""
    count, _, height, width = features.shape
    pooled = functional.adaptive_avg_pool1d(features.flatten(2).transpose(1, 2), channels)
    return pooled.transpose(1, 2).reshape(count, channels, height, width)


def compared_features(features: FrameFeatures, config: VIPMTConfig) -> Tensor:
    """What prior and structural maps compare, [N, P, h, w]; see ``VIPMTConfig.prior_features``."""
    if config.prior_features == "paper":
        return pool_channels(features.blocks[3], config.prior_channels)
    return torch.cat([functional.normalize(features.blocks[block - 1], dim=1) for block in config.fused_blocks], dim=1)


def region_pixels(pooled: Tensor, inside: Tensor) -> Tensor:
    """The pixels of one frame's region: features [P, h, w], bool [h, w] -> [n, P]."""
    return pooled.flatten(1).T[inside.flatten()]


def best_cosine(pixels: Tensor, region: Tensor, *, partial: bool = True) -> Tensor:
    """For each of ``pixels`` [N, P], the largest cosine with a pixel of ``region`` [n, P] -> [N].

    The published method multiplies the whole map by the mask instead of picking its pixels, so every pixel outside
    takes part with cosine 0: ``partial`` (there is an outside) therefore bounds the result from below by 0.
    An empty region gives 0. Computed in float32 at least, also under autocast: min-max scaling magnifies rounding.
    """
    precise = torch.promote_types(pixels.dtype, torch.float32)
    if len(region) == 0:
        return pixels.new_zeros(len(pixels), dtype=precise)
    with torch.autocast(pixels.device.type, enabled=False):
        pixels, region = pixels.to(precise), region.to(precise)
        norms = pixels.norm(dim=1)[:, None] * region.norm(dim=1) + EPS
        best: Tensor = (pixels @ region.T / norms).amax(1)
    return best.clamp(min=0) if partial else best


def min_max(maps: Tensor) -> Tensor:
    """[N, ...] scaled to [0, 1] separately for each of the N maps; a constant map becomes 0."""
    flat = maps.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low + EPS)).view_as(maps)


def prior_maps(pooled: Tensor, regions: Sequence[Tensor]) -> Tensor:
    """The prior of each query frame (section 3.2, after IPMT): where it looks like the supports' foreground.

    Args:
        pooled: query features [T, P, h, w].
        regions: foreground pixels [n_s, P] of each of the S supports and memory frames.

    Returns:
        [T, h, w] in [0, 1]: per support the best cosine, min-max scaled per frame, averaged over the S.
    """
    frames, _, height, width = pooled.shape
    pixels = pooled.flatten(2).transpose(1, 2).flatten(0, 1)  # [T h w, P]
    maps = [
        min_max(best_cosine(pixels, region, partial=len(region) < height * width).view(frames, height, width))
        for region in regions
    ]
    return torch.stack(maps).mean(0).to(pooled.dtype)


def structural_similarity_maps(pooled: Tensor, inside: Tensor, support_regions: Sequence[Tensor]) -> Tensor:
    """The four maps of eq 15-16, with the released code's cosine in place of the raw product.

    Args:
        pooled: features [T, P, h, w] of the frames to be judged.
        inside: their predicted masks, bool [T, h, w].
        support_regions: foreground pixels [n_s, P] of the supports (and memory frames).

    Returns:
        [T, 4, h, w] in [0, 1]: background to support, foreground to support, foreground to background, background
        to foreground. A map is 0 outside the region that it describes.
    """
    maps = []
    for features, mask in zip(pooled, inside, strict=True):
        flat = mask.flatten()
        pixels = features.flatten(1).T
        to_support = torch.stack(
            [best_cosine(pixels, region, partial=len(region) < len(pixels)) for region in support_regions]
        ).amax(0)
        foreground, background = torch.zeros_like(to_support), torch.zeros_like(to_support)
        foreground[flat] = best_cosine(pixels[flat], pixels[~flat], partial=bool(flat.any()))
        background[~flat] = best_cosine(pixels[~flat], pixels[flat], partial=not bool(flat.all()))
        stacked = torch.stack((to_support * ~flat, to_support * flat, foreground, background))
        maps.append(min_max(stacked).view(4, *mask.shape))
    return torch.stack(maps).to(pooled.dtype)
