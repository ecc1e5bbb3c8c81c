"""Networks in other runtimes: same masks, files that others open, one line where it cannot be."""

import json

import numpy as np
import pytest
import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig

from fewmask.errors import ConfigError
from fewmask.media.frames import open_frames
from fewmask.minvis import pretrained
from fewmask.minvis.clip_mask2former import ClipMask2Former
from fewmask.minvis.dense.network import DenseNetwork, DenseShape
from fewmask.minvis.dense.runtimes import OtherRuntime
from fewmask.minvis.dense.weights import save_dense
from fewmask.minvis.mask2former import Mask2FormerSegmenter
from fewmask.minvis.pretrained import load
from fewmask.models import other_runtimes
from fewmask.pipelines import export_model as exporting
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
@pytest.mark.parametrize("weights", ["small", "mask2former"])
@pytest.mark.parametrize(("name", "bfloat16"), [("onnxruntime", False), ("openvino", False), ("openvino", True)])
def test_masks_of_the_bundled_networks_are_the_same(weights, name, bfloat16):
    pytest.importorskip(name)
    with open_frames(demo_clip(short=True)) as source:
        frames = np.stack([frame.rgb for frame, _ in zip(source, range(2), strict=False)])
    plain = load(weights)
    expected = plain(frames, short_side=plain.short_side)
    other = load(weights, runtime=name, autocast_dtype=torch.bfloat16 if bfloat16 else None)
    found = other(frames, short_side=other.short_side)
    for frame in range(2):
        sure = expected.class_queries_logits[frame].softmax(-1)[:, :-1].amax(1) > 0.3
        a, b = (o.masks_queries_logits[frame].flatten(1) > 0 for o in (expected, found))
        if weights == "mask2former":
            assert not b[sure & ~a.any(1)].any()  # its queries keep their places; an empty mask stays empty
        sure &= a.any(1)
        assert sure.sum() >= 2  # what is surely there, or nothing would be compared
        iou = (a[:, None] & b[None]).sum(-1) / (a[:, None] | b[None]).sum(-1).clamp(min=1)
        assert iou.amax(1)[sure].mean() >= (0.95 if bfloat16 else 0.98)


def random_mask2former(*, paper: bool) -> Mask2FormerSegmenter:
    """The published R50 of transformers with random weights, or a small one like it."""
    torch.manual_seed(0)
    stages = [f"stage{n}" for n in range(1, 5)]
    small = {
        "backbone_config": ResNetConfig(
            embedding_size=8, hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1], out_features=stages
        ),
        "feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 64,
        "dim_feedforward": 64, "num_attention_heads": 4, "encoder_layers": 2, "decoder_layers": 3, "num_queries": 10,
    }  # fmt: skip
    paper_size = {"backbone_config": ResNetConfig(out_features=stages)}
    config = Mask2FormerConfig(num_labels=3, **(paper_size if paper else small))
    model = Mask2FormerForUniversalSegmentation(config).eval()
    for module in model.modules():  # random places too, or every token would look at itself alone
        if hasattr(module, "sampling_offsets"):
            torch.nn.init.normal_(module.sampling_offsets.weight, std=0.1)
    return Mask2FormerSegmenter(model)


@pytest.mark.parametrize("paper", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_masks_of_a_mask2former_are_the_same_for_any_number_of_frames(name, paper):
    pytest.importorskip(name)
    segmenter = random_mask2former(paper=paper)
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    expected = [segmenter(part, short_side=64) for part in (frames[:2], frames)]
    segmenter.compute_with(name)
    for part, wanted in zip((frames[:2], frames), expected, strict=True):
        found = segmenter(part, short_side=64)
        assert found.masks_queries_logits.shape == wanted.masks_queries_logits.shape
        torch.testing.assert_close(found.class_queries_logits, wanted.class_queries_logits, rtol=1e-2, atol=1e-2)
        a, b = (o.masks_queries_logits.flatten(2) > 0 for o in (wanted, found))
        iou = (a & b).sum(-1) / (a | b).sum(-1).clamp(min=1)
        assert iou[a.any(-1)].mean() >= 0.98


def test_an_exported_mask2former_runs_elsewhere(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    segmenter = random_mask2former(paper=False)
    segmenter.save(tmp_path / "weights")
    export_model(tmp_path / "weights", tmp_path / "n.onnx", "onnx", size=(64, 96), batch=2)
    description = json.loads((tmp_path / "n.onnx.json").read_text())
    session = onnxruntime.InferenceSession(str(tmp_path / "n.onnx"), providers=["CPUExecutionProvider"])
    images = torch.randn(description["input"]["shape"])
    found = session.run(description["outputs"], {description["input"]["name"]: images.numpy()})
    with torch.inference_mode():
        expected = segmenter.graph().module(images)
    for array, tensor in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-2, atol=1e-2)


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
    ):
        with pytest.raises(ConfigError, match=said) as error:
            export_model(given, tmp_path / out, form, size=size)
        assert "\n" not in str(error.value)
    monkeypatch.setattr(exporting, "load", lambda weights: None)
    with pytest.raises(ConfigError, match="neither a one-stage network nor"):
        export_model("videomt", tmp_path / "n.onnx", "onnx")
    monkeypatch.setattr(pretrained, "load_small", lambda folder, **settings: None)
    with pytest.raises(ConfigError, match="one-stage networks and Mask2Former"):
        load("mask2former", runtime="openvino")
    with pytest.raises(ConfigError, match="frames one by one"):
        ClipMask2Former.compute_with(object.__new__(ClipMask2Former), "openvino")
    with pytest.raises(ConfigError, match="runtime 'tensorrt'"):
        EveryObject(runtime="tensorrt")
    monkeypatch.setattr(other_runtimes, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"fewmask\[runtime\]"):
        OtherRuntime(network, "openvino")
