"""The recorded cases: packed masks, background maps and the optima found by enumeration."""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "fixtures"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
ARRAYS = np.load(FOLDER / "cases.npz")


def masks(name, index=""):
    owner, shape = f"{name}.masks{index}", tuple(ARRAYS[f"{name}.shape{index}"])
    return np.unpackbits(ARRAYS[owner])[: int(np.prod(shape))].reshape(shape).astype(bool)


def background(name, index=""):
    return ARRAYS[f"{name}.bg_prob{index}"]
