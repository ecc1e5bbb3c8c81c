import os
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_vipmt

from fewmask.vipmt.config import VIPMTConfig
from fewmask.vipmt.network import VIPMTNetwork


@pytest.fixture(scope="session")
def awaken() -> Callable[[VIPMTNetwork], VIPMTNetwork]:
    return tiny_vipmt.awaken


@pytest.fixture(scope="session")
def tiny_config() -> VIPMTConfig:
    return tiny_vipmt.TINY


@pytest.fixture(scope="session")
def tiny_network() -> VIPMTNetwork:
    return tiny_vipmt.tiny_network()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    root = Path(os.environ.get("FEWMASK_DATA", Path(__file__).parents[2] / ".." / "shared"))
    if not (root / "fixtures").is_dir():
        pytest.skip(f"no fixtures in {root}; set FEWMASK_DATA")
    return root
