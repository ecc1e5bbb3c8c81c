"""The one-stage network in other runtimes: same masks, files that others open, one line where it cannot be."""

import json

import numpy as np
import pytest
import torch

from fewmask.errors import ConfigError
from fewmask.media.frames import open_frames
from fewmask.minvis.dense import runtimes
from fewmask.minvis.dense.network import DenseNetwork, DenseShape
from fewmask.minvis.dense.runtimes import OtherRuntime
from fewmask.minvis.dense.weights import save_dense
from fewmask.minvis.pretrained import load
from fewmask.pipelines.export_model import export_model
from fewmask.pipelines.segment import demo_clip
from fewmask.pipelines.segment_request import EveryObject

NAMES = ("objectness", "classes", "kernels", "identities", "pixels")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return DenseNetwork(DenseShape(classes=3, width=16, pixel_width=8, identity=4)).eval()


@pytest.fixture
def folder(network, tmp_path):
    save_dense(network, tmp_path / "weights", names=("a", "b", "c"), short_side=64)
    return tmp_path / "weights"


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_runtime_says_what_the_network_says_for_any_number_of_frames_and_size(network, name):
    pytest.importorskip(name)
    other = OtherRuntime(network, name)
    for frames, size in ((2, (64, 96)), (1, (64, 96)), (5, (64, 96)), (1, (96, 64))):
        images = torch.randn(frames, 3, *size)
        with torch.inference_mode():
            expected = network(images)
            with torch.autocast("cpu", torch.bfloat16):  # as `segment` runs it; the graph is float32 all the same
                found = other(images)
        for part in (*NAMES, "places"):
            torch.testing.assert_close(getattr(found, part), getattr(expected, part), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bfloat16"), [("onnxruntime", False), ("openvino", False), ("openvino", True)])
def test_masks_of_the_bundled_network_are_the_same(name, bfloat16):
    pytest.importorskip(name)
    with open_frames(demo_clip(short=True)) as source:
        frames = np.stack([frame.rgb for frame, _ in zip(source, range(2), strict=False)])
    plain = load()
    expected = plain(frames, short_side=plain.short_side)
    other = load(runtime=name, autocast_dtype=torch.bfloat16 if bfloat16 else None)
    found = other(frames, short_side=other.short_side)
    for frame in range(2):
        sure = expected.class_queries_logits[frame].softmax(-1)[:, :-1].amax(1) > 0.3
        assert sure.sum() >= 2  # what is surely there, or nothing would be compared
        a, b = (o.masks_queries_logits[frame].flatten(1) > 0 for o in (expected, found))
        iou = (a[:, None] & b[None]).sum(-1) / (a[:, None] | b[None]).sum(-1).clamp(min=1)
        assert iou.amax(1)[sure].mean() >= (0.95 if bfloat16 else 0.98)


def test_an_exported_file_runs_elsewhere_and_its_description_feeds_it(network, folder, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    done = export_model(folder, tmp_path / "n.onnx", "onnx", size=(64, 96), batch=2)
    description = json.loads((tmp_path / "n.onnx.json").read_text())
    assert done.shape == (2, 3, 64, 96) == tuple(description["input"]["shape"])
    assert description["names"] == ["a", "b", "c"]
    session = onnxruntime.InferenceSession(str(tmp_path / "n.onnx"), providers=["CPUExecutionProvider"])
    images = torch.randn(done.shape)
    found = session.run(description["outputs"], {description["input"]["name"]: images.numpy()})
    with torch.inference_mode():
        expected = network(images)
    for name, array in zip(description["outputs"], found, strict=True):
        np.testing.assert_allclose(array, getattr(expected, name).numpy(), rtol=2e-2, atol=2e-2)  # half on disk


def test_an_openvino_file_opens(folder, tmp_path):
    openvino = pytest.importorskip("openvino")
    done = export_model(folder, tmp_path / "n.xml", "openvino")
    assert all(path.is_file() for path in done.files)
    assert done.shape == (1, 3, 64, 128)
    model = openvino.Core().read_model(tmp_path / "n.xml")
    assert [output.get_any_name() for output in model.outputs] == list(NAMES)
    assert list(model.inputs[0].shape) == list(done.shape)


def test_what_cannot_be_exported_or_run_is_said_in_one_line(folder, tmp_path, monkeypatch, network):
    for given, out, form, size, said in (
        (folder, "n.onnx", "openvino", None, r"ends in \.xml"),
        (folder, "n.onnx", "onnx", (60, 96), "multiples of 32"),
        ("mask2former", "n.onnx", "onnx", None, "no one-stage network"),
        (tmp_path, "n.onnx", "onnx", None, "no one-stage network"),
    ):
        with pytest.raises(ConfigError, match=said) as error:
            export_model(given, tmp_path / out, form, size=size)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="only one-stage networks"):
        load("mask2former", runtime="openvino")
    with pytest.raises(ConfigError, match="runtime 'tensorrt'"):
        EveryObject(runtime="tensorrt")
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"fewmask\[runtime\]"):
        OtherRuntime(network, "openvino")
