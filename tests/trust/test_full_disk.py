"""Writers on a disk that has no room for what they write: one line, and nothing half-written is left."""

import resource
from contextlib import contextmanager

import pytest
import torch

from fewmask.errors import FewmaskError
from fewmask.media.atomic import write_json
from fewmask.models.tensors_file import load_tensors, save_tensors
from fewmask.training.checkpoint import load_checkpoint, save_checkpoint


@contextmanager
def room_for(size):
    """No file may grow beyond ``size`` bytes; Python ignores the signal that would come with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WEIGHTS = {"a": torch.arange(20_000.0)}
WRITERS = {
    "checkpoint.pt": lambda path: save_checkpoint(path, {"step": 3, "network": WEIGHTS}),
    "model.safetensors": lambda path: save_tensors(path, WEIGHTS),
    "tracks.json": lambda path: write_json(path, ["x" * 50] * 1000),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_does_not_fit_is_told_and_what_was_there_stays(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    before = path.read_bytes()
    with room_for(10_000), pytest.raises(FewmaskError, match=f"{name}: cannot be written") as told:
        WRITERS[name](path)
    assert "\n" not in str(told.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_flipped_bit_is_no_weight(tmp_path):
    for name, read in (("checkpoint.pt", load_checkpoint), ("model.safetensors", load_tensors)):
        path = tmp_path / name
        WRITERS[name](path)
        read(path)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
        with pytest.raises(FewmaskError, match=r"damaged, .*checksum"):
            read(path)
