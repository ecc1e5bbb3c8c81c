"""Access to the recorded cases."""

import json
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).parent / "fixtures"


def expected(folder: str) -> Any:
    return json.loads((FIXTURES / folder / "expected.json").read_text())


def arrays(folder: str, name: str) -> dict[str, Any]:
    with np.load(FIXTURES / folder / f"{name}.npz") as stored:
        return dict(stored)


def unpacked(bits: Any, shape: Any) -> Any:
    return np.unpackbits(bits)[: np.prod(shape)].reshape(shape).astype(bool)
