import json
import pickle
from pathlib import Path

import pytest
import torch

from fewmask.errors import CheckpointError
from fewmask.vipmt.config import PAPER
from fewmask.vipmt.convert import convert_checkpoint, convert_state_dict, rename
from fewmask.vipmt.network import VIPMTNetwork

KEYS = json.loads((Path(__file__).parent / "fixtures" / "keys.json").read_text())


def test_every_released_key_has_its_place_and_every_place_a_key():
    with torch.device("meta"):
        expected = VIPMTNetwork(PAPER).state_dict()
    names = {key: rename(key) for key in KEYS}
    assert None not in names.values()
    assert sorted(names.values()) == sorted(expected)
    for key, (shape, _) in KEYS.items():
        assert expected[names[key]].numel() == torch.Size(shape).numel(), key


def released() -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in KEYS.items()}


def test_report_names_every_key():
    state = {f"module.{key}": value for key, value in released().items()}
    state["module.bn.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
    weights, report = convert_state_dict(state, "x.pth")
    assert report.unused == ("module.bn.num_batches_tracked",)
    assert set(report.converted) | set(report.unused) == set(state)
    assert set(report.converted.values()) == set(weights)
    assert report.missing == ()


def test_incomplete_and_foreign_checkpoints_are_refused():
    state = released()
    del state["cls.3.bias"]
    with pytest.raises(CheckpointError, match=r"1 tensors are missing.*head\.classifier\.3\.bias"):
        convert_state_dict(state, "x.pth")
    state = released()
    state["cls.3.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"cls\.3\.bias has shape \[3\]"):
        convert_state_dict(state, "x.pth")


def test_a_pickle_with_code_is_refused_unrun(tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (marker,))

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    torch.save({"state_dict": {"a": Evil()}}, tmp_path / "evil2.pth")
    for bad in (path, tmp_path / "evil2.pth", tmp_path / "none.pth"):
        with pytest.raises(CheckpointError, match=bad.name):
            convert_checkpoint(bad, tmp_path / "out")
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_a_filled_folder_is_not_overwritten(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="already there"):
        convert_checkpoint(tmp_path / "x.pth", tmp_path)
