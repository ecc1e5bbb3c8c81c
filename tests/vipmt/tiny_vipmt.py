"""A network small enough for tests, awake though untrained; pictures of what it is shown."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from fewmask.vipmt.config import SMALL, VIPMTConfig
from fewmask.vipmt.network import VIPMTNetwork

TINY = replace(
    SMALL,
    channels=16,
    feed_forward=32,
    heads=2,
    iterations=2,
    prior_channels=16,
    prior_features="paper",
    fused_blocks=(2, 3),
    input_size=(48, 80),
    iou_channels=8,
    iou_hidden=8,
    iou_grid=(2, 3),
    clip_length=3,
    memory_threshold=0.0,
)


def awaken(network: VIPMTNetwork) -> VIPMTNetwork:
    """Give an untrained network features that differ between pictures, and masks with an inside and an outside.

    The frozen norms of an untrained backbone let its signal fade to 1e-9, and its masks are all empty or all full:
    then nothing downstream could be told apart.
    """
    noise = torch.randn(8, 3, *network.config.input_size, generator=torch.Generator().manual_seed(1))
    norms = [module for module in network.backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain average
    training = network.training
    with torch.no_grad():
        network.backbone.train()
        network.encode(noise)
        network.eval()
        masks = torch.zeros(2, *network.config.input_size)
        masks[:, :, : network.config.input_size[1] // 2] = 1
        logits = network(noise[:6], noise[6:], masks).token_logits
        network.head.classifier[-1].bias[0] += (logits[:, 1] - logits[:, 0]).median()
    return network.train(training)


def tiny_network(config: VIPMTConfig = TINY) -> VIPMTNetwork:
    torch.manual_seed(0)
    return awaken(VIPMTNetwork(config).eval())


def write_pictures(folder, count, seed=0, size=(60, 70)):
    """Noise with a masked block, as 0.jpg + 0.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        mask = np.zeros(size, dtype=np.uint8)
        mask[10 : 40 + i, 10:50] = 255
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{i}.jpg")
        Image.fromarray(mask).save(folder / f"{i}.png")
    return folder
