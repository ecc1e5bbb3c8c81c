import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewmask.vipmt.config import SMALL, VIPMTConfig
from fewmask.vipmt.network import VIPMTNetwork


def _awaken(network: VIPMTNetwork) -> VIPMTNetwork:
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


@pytest.fixture(scope="session")
def awaken() -> Callable[[VIPMTNetwork], VIPMTNetwork]:
    return _awaken


@pytest.fixture(scope="session")
def tiny_config() -> VIPMTConfig:
    return replace(
        SMALL,
        channels=16,
        feed_forward=32,
        heads=2,
        iterations=2,
        prior_channels=16,
        input_size=(48, 80),
        iou_channels=8,
        iou_hidden=8,
        iou_grid=(2, 3),
        clip_length=3,
        memory_threshold=0.0,
    )


@pytest.fixture(scope="session")
def tiny_network(tiny_config: VIPMTConfig) -> VIPMTNetwork:
    torch.manual_seed(0)
    return _awaken(VIPMTNetwork(tiny_config).eval())


@pytest.fixture(scope="session")
def shared_data() -> Path:
    root = Path(os.environ.get("FEWMASK_DATA", Path(__file__).parents[2] / ".." / "shared"))
    if not (root / "fixtures").is_dir():
        pytest.skip(f"no fixtures in {root}; set FEWMASK_DATA")
    return root
