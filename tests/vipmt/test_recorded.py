"""Against numbers recorded from the released network: small parts always, the whole where the fixtures are."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from fewmask.vipmt.backbone import FrameFeatures
from fewmask.vipmt.config import PAPER
from fewmask.vipmt.convert import convert_state_dict
from fewmask.vipmt.heads import LearnedUpsampling
from fewmask.vipmt.iteration import Iteration
from fewmask.vipmt.losses import SegmentedClip, clip_losses, iou_labels
from fewmask.vipmt.network import VIPMTNetwork

SIZE = (240, 424)
SMALL = Path(__file__).parent / "fixtures" / "small.npz"
CASES = {
    "no_memory": ([0, 1, 2, 3, 4], []),
    "memory5": ([5, 6, 7, 8, 9], [0, 1, 2, 3, 4]),
    "memory3": ([8, 9], [0, 2, 4]),
}


def unpack(packed, frames):
    return torch.from_numpy(np.unpackbits(packed)[: frames * SIZE[0] * SIZE[1]].reshape(frames, *SIZE)).bool()


def test_upsampling_gives_the_recorded_logits_and_masks():
    with np.load(SMALL) as recorded:
        upsample = LearnedUpsampling().double()
        upsample.load_state_dict({"weight": torch.from_numpy(recorded["kernel"])})
        with torch.no_grad():
            logits = upsample(torch.from_numpy(recorded["token_logits"]).double(), SIZE)
        np.testing.assert_allclose(logits[..., ::4, ::4], recorded["logits_every4"], atol=2e-6)
        masks = unpack(recorded["masks_packed"], 5)
    assert int(((logits[:, 1] > logits[:, 0]) != masks).sum()) <= 10


def test_iou_labels_are_the_recorded_ones():
    with np.load(SMALL) as recorded:
        predicted, truth = unpack(recorded["predicted_packed"], 10), unpack(recorded["truth_packed"], 10)
        np.testing.assert_allclose(iou_labels(predicted, truth), recorded["iou_label"].flatten(), atol=1e-6)


class Recorded:
    """The released network's weights and inputs; features are encoded once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "vipmt"
        spec = importlib.util.spec_from_file_location("weights", folder / "deterministic_weights.py")
        weights = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(weights)
        state = weights.fill(json.loads((self.folder / "keys.json").read_text()), 0)
        with np.load(self.folder / "overrides.npz") as overrides:
            state.update(overrides)
        tensors = {key: torch.from_numpy(value) for key, value in state.items()}
        self.weights, self.report = convert_state_dict(tensors, "recorded")
        self.inputs = np.load(self.folder / "inputs.npz")
        self._features: dict[tuple[str, bool], FrameFeatures] = {}
        self._networks = {prior: self._network(prior) for prior in ("running", "per_frame")}

    def _network(self, prior):
        network = VIPMTNetwork(replace(PAPER, prior=prior)).double().eval()
        network.load_state_dict(self.weights)
        return network

    def network(self, prior):
        return self._networks[prior]

    def features(self, name, mirrored=False):
        if (name, mirrored) not in self._features:
            mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
            pictures = self.inputs[f"{name}_frames"] / 255.0
            images = torch.from_numpy((pictures - mean) / deviation).permute(0, 3, 1, 2)
            with torch.no_grad():
                encoded = self.network("running").encode(images.flip(-1) if mirrored else images)
            self._features[name, mirrored] = encoded
        return self._features[name, mirrored]

    def masks(self, name):
        return unpack(self.inputs[f"{name}_masks"], len(self.inputs[f"{name}_frames"]))


@pytest.fixture(scope="module")
def recorded(shared_data):
    return Recorded(shared_data / "fixtures")


def assert_close(actual, expected, relative, name):
    error = np.abs(actual.detach().numpy() - expected).max() / expected.std()
    assert error < relative, f"{name}: off by {error:.1e} of its spread"


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("prior", ["running", "per_frame"])
def test_the_network_gives_the_recorded_numbers(recorded, case, prior):
    frames, remembered = CASES[case]
    network = recorded.network(prior)
    query, query_masks = recorded.features("class0.query"), recorded.masks("class0.query")
    memory_masks = query_masks[remembered].clone()
    if case == "memory3":
        memory_masks[1], memory_masks[2] = False, True
    with torch.no_grad():
        support = network.exemplars(recorded.features("class0.support"), recorded.masks("class0.support"))
        memory = network.exemplars(query.take(remembered), memory_masks) if remembered else None
        result = network.segment(query.take(frames), SIZE, support, memory)
    prefix = "perframe." if prior == "per_frame" else ""
    with np.load(recorded.folder / f"{case}.npz") as expected:
        assert_close(result.prior, expected[f"{prefix}prior"], 1e-5, "prior")
        assert_close(result.query.initial_logits, expected[f"{prefix}init_logits_1_8"], 1e-5, "initial logits")
        assert_close(result.token_logits, expected[f"{prefix}logits_1_8"], 1e-5, "logits")
        np.testing.assert_allclose(result.iou_scores, expected[f"{prefix}score"], atol=1e-6)
        masks = unpack(expected[f"{prefix}pred_mask_packed"], len(frames))
        assert int((result.masks != masks).sum()) <= 10
        if prior == "running":
            tokens = support.tokens if memory is None else torch.cat((support.tokens, memory.tokens))
            on_query = [m for maps in result.iterations for m in (maps.clip_logits, maps.frame_logits)]
            on_exemplars = [maps.exemplar_logits for maps in result.iterations]
            for name, actual in {
                "query_feature_every48": result.query.tokens[:, ::48],
                "support_feature_every48": tokens[:, ::48],
                "transformer_out_every48": result.final_tokens[:, ::48],
                "query_mask_logits": torch.stack(on_query),
                "support_mask_logits": torch.stack(on_exemplars),
                "structural_maps": result.judged_maps,
                "logits_full_every4": result.logits[..., ::4, ::4],
            }.items():
                assert_close(actual, expected[name], 1e-5, name)


def training_clips(recorded, case):
    network = recorded.network("per_frame" if case == "clip1_perframe_prior" else "running")
    clips = []
    for name in ("class0", "class1"):
        first = list(range(5))
        query, masks = recorded.features(f"{name}.query").take(first), recorded.masks(f"{name}.query")[:5]
        support_masks = exemplar_masks = recorded.masks(f"{name}.support")
        support = network.exemplars(recorded.features(f"{name}.support"), support_masks)
        memory = None
        if case == "clip2_with_memory":
            memory = network.exemplars(query, masks)
            exemplar_masks = torch.cat((support_masks, masks))
            query, masks = recorded.features(f"{name}.query", mirrored=True).take(first), masks.flip(-1)
        clips.append(SegmentedClip(network.segment(query, SIZE, support, memory), masks, exemplar_masks))
    return network, clips


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("case", ["clip1", "clip2_with_memory", "clip1_perframe_prior"])
def test_training_losses_are_the_recorded_ones(recorded, case):
    expected = json.loads((recorded.folder / "train_expected.json").read_text())[case]
    with torch.no_grad():
        _, clips = training_clips(recorded, case)
        losses = clip_losses(clips)
    assert float(losses.main) == pytest.approx(expected["main_loss"], rel=1e-6)
    assert float(losses.auxiliary) == pytest.approx(expected["aux_loss"], rel=1e-6)
    assert float(losses.ccds) == pytest.approx(expected["ccds_loss"], rel=1e-6)
    assert float(losses.score) == pytest.approx(expected["score_loss"], rel=1e-6)
    labels = [iou_labels(clip.result.masks, clip.masks) for clip in clips]
    np.testing.assert_allclose(torch.stack(labels), expected["components"]["iou_label"], atol=1e-6)


@pytest.mark.slow
@pytest.mark.data
def test_gradients_are_the_recorded_ones(recorded, monkeypatch):
    """Iterations are recomputed in the backward pass, so that float64 fits into a few GB."""
    expected = json.loads((recorded.folder / "train_expected.json").read_text())["clip1"]["grad_l2_norm"]
    forward = Iteration.forward

    def recomputed(self, *inputs):
        return checkpoint(forward, self, *inputs, use_reentrant=False)

    monkeypatch.setattr(Iteration, "forward", recomputed)
    network, clips = training_clips(recorded, "clip1")
    network.zero_grad()
    clip_losses(clips).total.backward()
    parameters = dict(network.named_parameters())
    for key, norm in expected.items():
        gradient = parameters[recorded.report.converted[key]].grad
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-5), key
