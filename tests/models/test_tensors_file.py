"""Tensors in a file with their checksum."""

import subprocess
import sys

import pytest
import torch

from fewmask.errors import CheckpointError
from fewmask.models.tensors_file import load_tensors, save_tensors

WRITE = """
import sys, torch
from pathlib import Path
from fewmask.models.tensors_file import save_tensors
tensors = {"a": torch.arange(6.0).reshape(2, 3), "ü": torch.ones(4, dtype=torch.long)}
save_tensors(Path(sys.argv[1]), tensors, {"zebra": "1", "apple": "ä", "mango": "3"})
"""


def test_equal_weights_are_equal_files_whoever_writes_them(tmp_path):
    for name in "abcd":  # the library's order of metadata differs from process to process
        subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / name)], check=True)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1
    tensors, about = load_tensors(tmp_path / "a")
    assert torch.equal(tensors["a"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(tensors["ü"], torch.ones(4, dtype=torch.long))
    assert {name: about[name] for name in ("apple", "format", "mango", "zebra")} == {
        "apple": "ä",
        "format": "pt",
        "mango": "3",
        "zebra": "1",
    }


def test_a_flipped_bit_is_told(tmp_path):
    save_tensors(tmp_path / "a", {"a": torch.arange(6.0)})
    data = bytearray((tmp_path / "a").read_bytes())
    data[-3] ^= 4
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        load_tensors(tmp_path / "a")
