import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewmask.vipmt.config import SMALL, VIPMTConfig
from fewmask.vipmt.network import VIPMTNetwork


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
    return VIPMTNetwork(tiny_config).eval()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    root = Path(os.environ.get("FEWMASK_DATA", Path(__file__).parents[2] / ".." / "shared"))
    if not (root / "fixtures").is_dir():
        pytest.skip(f"no fixtures in {root}; set FEWMASK_DATA")
    return root
