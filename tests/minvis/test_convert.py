"""Official checkpoints to ours and back; the recorded networks through the conversion."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig, SwinConfig
from typer.testing import CliRunner

from fewmask.cli.main import app
from fewmask.errors import CheckpointError, DatasetError
from fewmask.minvis.convert import REPORT_FILE, convert_minvis, relative_position_index, restore_official
from fewmask.minvis.link import link_video
from fewmask.minvis.loading import load_segmenter
from fewmask.minvis.mask2former import Mask2FormerSegmenter
from fewmask.minvis.stream import MinVIS
from fewmask.models import masked_attention

STAGES = ["stage1", "stage2", "stage3", "stage4"]
BACKBONES = {
    "resnet": ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32, 48, 64], depths=[1, 2, 1, 1], out_features=STAGES
    ),
    "basic_resnet": ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1], layer_type="basic", out_features=STAGES
    ),
    "swin": SwinConfig(
        embed_dim=8, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 4], window_size=3, out_features=STAGES
    ),
}  # fmt: skip


def random_segmenter(backbone: str) -> Mask2FormerSegmenter:
    torch.manual_seed(0)
    config = Mask2FormerConfig(
        backbone_config=BACKBONES[backbone],
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=48,
        dim_feedforward=64,
        encoder_layers=2,
        decoder_layers=4,
        num_attention_heads=4,
        num_queries=6,
        num_labels=3,
    )
    model = Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "swin.layernorm" not in name:  # no part of the network
                value.add_(0.05 * torch.randn_like(value))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    return Mask2FormerSegmenter(model)


@pytest.fixture(params=list(BACKBONES))
def network(request, tmp_path) -> tuple[Mask2FormerSegmenter, dict[str, torch.Tensor]]:
    """A small random network and its tensors under official names."""
    segmenter = random_segmenter(request.param)
    segmenter.save(tmp_path / "original")
    return segmenter, restore_official(tmp_path / "original")


def assert_same_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_there_and_back_loses_nothing_and_computes_the_same(network, tmp_path):
    segmenter, official = network
    torch.save({"model": official, "iteration": 5999}, tmp_path / "official.pth")
    report = convert_minvis(tmp_path / "official.pth", tmp_path / "ours")
    assert_same_tensors(restore_official(tmp_path / "ours"), official)
    assert {key.official for key in report.keys if key.official} == set(official)
    written = json.loads((tmp_path / "ours" / REPORT_FILE).read_text())
    assert len(written) == len(report.keys)
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 64, 3), dtype=np.uint8)
    converted = load_segmenter(tmp_path / "ours")(frames)
    expected = segmenter(frames)
    assert torch.equal(converted.masks_queries_logits, expected.masks_queries_logits)
    assert torch.equal(converted.class_queries_logits, expected.class_queries_logits)


def test_numpy_pickle_reads_like_a_torch_file(network, tmp_path):
    _, official = network
    arrays = {name: tensor.numpy() for name, tensor in official.items()}
    with (tmp_path / "official.pkl").open("wb") as handle:
        pickle.dump({"model": arrays, "__author__": "somebody", "matching_heuristics": True}, handle, protocol=2)
    convert_minvis(tmp_path / "official.pkl", tmp_path / "ours")
    assert_same_tensors(restore_official(tmp_path / "ours"), official)


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("name", ["evil.pkl", "evil.pth"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, name):
    target = tmp_path / "executed"
    with (tmp_path / name).open("wb") as handle:
        pickle.dump({"model": {"a": np.zeros(2)}, "x": _Payload(target)}, handle)
    with pytest.raises(CheckpointError, match="evil"):
        convert_minvis(tmp_path / name, tmp_path / "ours")
    assert not target.exists()
    assert not (tmp_path / "ours").exists()


def _without(name):
    return lambda official: official.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("sem_seg_head.predictor.decoder_norm.weight"), "decoder_norm.weight is missing"),
        (_without("sem_seg_head.predictor.class_embed.weight"), "class_embed.weight is missing"),
        (lambda official: official.update({"backbone.extra.weight": torch.ones(1)}), "backbone.extra.weight"),
    ],
)
def test_missing_or_unknown_tensors_are_named(tmp_path, change, message):
    random_segmenter("resnet").save(tmp_path / "original")
    official = restore_official(tmp_path / "original")
    change(official)
    torch.save(official, tmp_path / "official.pth")
    with pytest.raises(CheckpointError, match=message):
        convert_minvis(tmp_path / "official.pth", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_early_name_of_the_queries_and_unused_tensors(tmp_path):
    random_segmenter("resnet").save(tmp_path / "original")
    official = restore_official(tmp_path / "original")
    early = dict(official)
    early["sem_seg_head.predictor.static_query.weight"] = early.pop("sem_seg_head.predictor.query_feat.weight")
    early["ema_step"] = torch.ones(1)
    torch.save({"model": early}, tmp_path / "official.pth")
    names = tmp_path / "names.json"
    categories = [{"id": 9, "name": "c"}, {"id": 1, "name": "a"}, {"id": 4, "name": "b"}]
    names.write_text(json.dumps({"categories": categories}))
    report = convert_minvis(tmp_path / "official.pth", tmp_path / "ours", categories=names)
    assert report.counts()["unused"] == 1
    assert_same_tensors(restore_official(tmp_path / "ours"), official)
    assert load_segmenter(tmp_path / "ours").categories == {0: "a", 1: "b", 2: "c"}
    with pytest.raises(CheckpointError, match="already holds"):
        convert_minvis(tmp_path / "official.pth", tmp_path / "ours")
    names.write_text(json.dumps({"categories": categories[:1]}))
    with pytest.raises(DatasetError, match="3 classes"):
        convert_minvis(tmp_path / "official.pth", tmp_path / "other", categories=names)
    with pytest.raises(DatasetError, match="nowhere"):
        convert_minvis(tmp_path / "official.pth", tmp_path / "other", categories=tmp_path / "nowhere.json")


def test_the_verb_says_where_and_what(tmp_path):
    random_segmenter("resnet").save(tmp_path / "original")
    torch.save(restore_official(tmp_path / "original"), tmp_path / "official.pth")
    arguments = ["convert", "minvis", str(tmp_path / "official.pth"), "--out", str(tmp_path / "ours"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    assert Path(said["report"]).is_file()
    assert said["tensors"]["split"] == 2 * 3  # weight and bias of self-attention in three layers


def test_an_index_table_of_another_order_is_refused(tmp_path):
    random_segmenter("swin").save(tmp_path / "original")
    official = restore_official(tmp_path / "original")
    official["backbone.layers.0.blocks.0.attn.relative_position_index"] = relative_position_index(3).flip(0)
    torch.save(official, tmp_path / "official.pth")
    with pytest.raises(CheckpointError, match="relative_position_index"):
        convert_minvis(tmp_path / "official.pth", tmp_path / "ours")


def test_relative_position_index_by_brute_force():
    window = 4
    table = relative_position_index(window)
    for i in range(window * window):
        for j in range(window * window):
            down = i // window - j // window + window - 1
            right = i % window - j % window + window - 1
            assert table[i, j] == down * (2 * window - 1) + right


# ---- recorded networks


@pytest.fixture(scope="module")
def converted(recorded, tmp_path_factory):
    """Folder of a converted recorded network, by the name of its key list; converted once."""
    sys.path.insert(0, str(recorded.parent))
    from deterministic_weights import fill

    folders: dict[str, Path] = {}

    def convert(keys_name: str) -> Path:
        if keys_name not in folders:
            keys = json.loads((recorded / f"{keys_name}.json").read_text())
            official = {name: torch.from_numpy(value) for name, value in fill(keys, 18).items()}
            home = tmp_path_factory.mktemp(keys_name)
            torch.save({"model": official}, home / "official.pth")
            convert_minvis(home / "official.pth", home / "ours")
            back = restore_official(home / "ours")
            assert set(back) == set(keys)  # the index tables included, which are computed
            for name, value in official.items():
                assert torch.equal(back[name], value), name
            (home / "official.pth").unlink()
            folders[keys_name] = home / "ours"
        return folders[keys_name]

    yield convert
    sys.path.remove(str(recorded.parent))


NETWORKS = [("keys", "net_a"), ("keys", "net_b"), ("keys_swin_l", "net_swin_l")]


def run_with_gates(folder, frames, monkeypatch, dtype):
    """What `MinVIS.from_pretrained` says of the frames, and every attention gate and the logits it was cut from."""
    gates, logits = [], []
    original = masked_attention._gate

    def recorded_gate(decoder, normalised, features):
        gates.append(original(decoder, normalised, features)[:, 0])
        logits.append(decoder.decoder.mask_predictor.mask_embedder(normalised.to(features.dtype)) @ features)
        return gates[-1][:, None]

    monkeypatch.setattr(masked_attention, "_gate", recorded_gate)
    segmenter = MinVIS.from_pretrained(folder, device="cpu").segmenter.to(dtype)
    return segmenter(frames), gates, logits


def assert_same_results(output, expected, *, score, pixels):
    linked = link_video(
        output.class_queries_logits,
        output.masks_queries_logits,
        output.query_embeddings,
        padded_size=output.padded_size,
        image_size=output.image_size,
        output_size=tuple(expected["output_size"].tolist()),
    )
    assert np.array_equal(linked.permutation, expected["permutation"])
    np.testing.assert_allclose(linked.scores, expected["top_scores"], atol=score)
    assert linked.labels.tolist() == expected["top_labels"].tolist()
    assert linked.queries.tolist() == expected["top_queries"].tolist()
    shape = expected["top_masks_shape"]
    masks = np.unpackbits(expected["top_masks_packed"])[: shape.prod()].reshape(shape)
    assert (linked.masks != masks).sum() <= pixels * (1 if pixels > 1 else masks.size)


@pytest.mark.data
@pytest.mark.parametrize(("keys_name", "case"), NETWORKS)
def test_recorded_network(recorded, converted, keys_name, case, monkeypatch):
    """Strictly in float64; in float32 within its own tolerance up to the first gate that rounding flips.

    A gate is a threshold: a logit within rounding of zero may fall on the other side, and from there on the frame's
    numbers differ (the recording's own description says so). Hence: a flip must be at a logit that rounding explains,
    and every frame without one must keep the float32 tolerances.
    """
    expected = np.load(recorded / f"{case}.npz")
    folder = converted(keys_name)
    exact, exact_gates, exact_logits = run_with_gates(folder, expected["frames"], monkeypatch, torch.float64)
    monkeypatch.undo()
    strict, loose = 1e-5, {"pred_logits": 5e-4, "pred_masks": 5e-3, "pred_embds": 5e-4}
    for name, values in named(exact).items():
        assert np.abs(values - expected[name]).max() < strict * np.ptp(expected[name]), name
    assert_same_results(exact, expected, score=1e-6, pixels=2)

    rounded, gates, _ = run_with_gates(folder, expected["frames"], monkeypatch, torch.float32)
    frames = range(len(expected["frames"]))
    first_flip = {
        t: next((i for i, gate in enumerate(gates) if (gate[t] != exact_gates[i][t]).any()), None) for t in frames
    }
    for t, layer in first_flip.items():
        if layer is None:
            for name, values in named(rounded).items():
                assert np.abs(one_frame(name, values, t) - one_frame(name, expected[name], t)).max() < loose[name], name
        else:
            flipped = gates[layer][t] != exact_gates[layer][t]
            assert exact_logits[layer][t][flipped].abs().max() < 5e-3  # the float32 tolerance of mask logits
    if set(first_flip.values()) == {None}:
        assert_same_results(rounded, expected, score=2e-4, pixels=5e-4)


def named(output):
    """By the names of the recording; queries come before frames in its masks."""
    return {
        "pred_logits": output.class_queries_logits.numpy(),
        "pred_masks": output.masks_queries_logits.transpose(0, 1).numpy(),
        "pred_embds": output.query_embeddings.numpy(),
    }


def one_frame(name, values, t):
    return values[:, t] if name == "pred_masks" else values[t]
