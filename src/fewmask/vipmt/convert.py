"""Released VIPMT checkpoints -> our weights, with an account of every key."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewmask.errors import CheckpointError, FewmaskError
from fewmask.media.atomic import write_json
from fewmask.media.own_files import read_json
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.models.tensors_file import refuse_larger
from fewmask.models.weights_file import WEIGHTS, save_weights
from fewmask.vipmt.config import PAPER, VIPMTConfig
from fewmask.vipmt.network import VIPMTNetwork

CONFIG_NAME = "config.json"

# Released name (regular expression) -> our name. Within an iteration l the released lists are indexed by l.
_ATTENTION_PARTS = {"q_fc": "query", "k_fc": "key", "v_fc": "value", "proj": "output"}
_FEED_FORWARD_PARTS = {"layers.0.0": "expand", "layers.1": "contract"}
_GRAINS = {"support_memory": "exemplar", "query": "clip", "frame": "frame"}

_RULES: tuple[tuple[str, str], ...] = (
    (r"backbone\.body\.(.+)", r"backbone.\1"),
    (r"adjust_feature_supp\.0\.weight", "activation.adjust_support.weight"),
    (r"adjust_feature_qry\.0\.weight", "activation.adjust_query.weight"),
    (r"qry_merge_feat\.0\.weight", "activation.merge_query.weight"),
    (r"supp_merge_feat\.0\.weight", "activation.merge_support.weight"),
    (r"merge_res\.([02])\.weight", r"activation.initial_residual.\1.weight"),
    (r"ini_cls\.([03])\.(weight|bias)", r"activation.initial_classifier.\1.\2"),
    (r"merge_multi_lvl_reduce\.0\.weight", "head.reduce.weight"),
    (r"merge_multi_lvl_sum\.([02])\.weight", r"head.residual.\1.weight"),
    (r"cls\.([03])\.(weight|bias)", r"head.classifier.\1.\2"),
    (r"upsample1\.weight", "upsample.weight"),
    (r"upsample2\.weight", "upsample_initial.weight"),
    (r"transformer\.prototype\.weight", "transformer.prototype"),
    (r"transformer\.level_embed", "transformer.level_embedding"),
    (r"transformer\.decoder_norm_(clip|frame)\.(weight|bias)", r"transformer.\1_embedding.norm.\2"),
    (r"transformer\.update_q\.(\d+)\.0\.weight", r"transformer.iterations.\1.query_activation.merge.weight"),
    (r"transformer\.res_q\.(\d+)\.([02])\.weight", r"transformer.iterations.\1.query_activation.residual.\2.weight"),
    (
        r"transformer\.qry_self_layers\.(\d+)\.q\.(\w+)",
        r"transformer.iterations.\1.query_activation.self_attention.query.\2",
    ),
    (
        r"transformer\.qry_self_layers\.(\d+)\.kv\.(\w+)",
        r"transformer.iterations.\1.query_activation.self_attention.key_value.\2",
    ),
    (
        r"transformer\.qry_self_layers\.(\d+)\.proj\.(\w+)",
        r"transformer.iterations.\1.query_activation.self_attention.output.\2",
    ),
    (
        r"transformer\.qry_self_layers\.(\d+)\.sr\.(\w+)",
        r"transformer.iterations.\1.query_activation.self_attention.reduce.\2",
    ),
    (
        r"transformer\.qry_self_layers\.(\d+)\.norm\.(\w+)",
        r"transformer.iterations.\1.query_activation.self_attention.norm.\2",
    ),
    (r"transformer\.layer_norms_q1\.(\d+)\.(\w+)", r"transformer.iterations.\1.query_activation.first_norm.\2"),
    (r"transformer\.layer_norms_q2\.(\d+)\.(\w+)", r"transformer.iterations.\1.query_activation.second_norm.\2"),
    (r"score_head\.conv([1-4])\.(weight|bias)", r"iou_net.conv\1.\2"),
    (r"score_head\.fuse_conv([12])\.(weight|bias)", r"iou_net.fuse\1.\2"),
    (r"score_head\.donw_samp\.(weight|bias)", r"iou_net.shrink.\1"),
    (r"score_head\.fc1\.(weight|bias)", r"iou_net.hidden.\1"),
    (r"score_head\.fc2\.(weight|bias)", r"iou_net.score.\1"),
)
_ATTENTION = re.compile(
    r"transformer\.(query|support_memory)_decoder_cross_attention_layers(_frame)?\.(\d+)\.(q_fc|k_fc|v_fc|proj)\.weight"
)
_POST_NORM = re.compile(r"transformer\.(query|support_memory)_layer_norms(1?)(_frame)?\.(\d+)\.(weight|bias)")
_FEED_FORWARD = re.compile(
    r"transformer\.(query|support_memory)_ffns(_frame)?\.(\d+)\.(layers\.0\.0|layers\.1)\.weight"
)
_QUERY_FEED_FORWARD = re.compile(r"transformer\.ffns_q\.(\d+)\.(layers\.0\.0|layers\.1)\.weight")
_EMBEDDING = re.compile(r"transformer\.mask_embed_(clip|frame)\.(layers\.0\.0|layers\.1)\.weight")


@dataclass(frozen=True)
class ConversionReport:
    """What became of every key of a released checkpoint."""

    source: str
    converted: dict[str, str]
    """Released name -> our name."""
    unused: tuple[str, ...]
    """Names in the checkpoint that the network has no place for (counters of training, for example)."""
    missing: tuple[str, ...]
    """Our names that the checkpoint does not fill; always empty when conversion succeeds."""


def rename(key: str) -> str | None:
    """Our name of a released key, or None for one that is not part of the network."""
    for pattern, name in _RULES:
        match = re.fullmatch(pattern, key)
        if match:
            return match.expand(name)
    if match := _ATTENTION.fullmatch(key):
        grain, frame, level, part = match.groups()
        return f"transformer.iterations.{level}.{_grain(grain, frame)}_attention.{_ATTENTION_PARTS[part]}.weight"
    if match := _POST_NORM.fullmatch(key):
        grain, second, frame, level, kind = match.groups()
        norm = "second_norm" if second else "first_norm"
        return f"transformer.iterations.{level}.{_grain(grain, frame)}_post.{norm}.{kind}"
    if match := _FEED_FORWARD.fullmatch(key):
        grain, frame, level, part = match.groups()
        layer = _FEED_FORWARD_PARTS[part]
        return f"transformer.iterations.{level}.{_grain(grain, frame)}_post.feed_forward.{layer}.weight"
    if match := _QUERY_FEED_FORWARD.fullmatch(key):
        level, part = match.groups()
        return f"transformer.iterations.{level}.query_activation.feed_forward.{_FEED_FORWARD_PARTS[part]}.weight"
    if match := _EMBEDDING.fullmatch(key):
        grain, part = match.groups()
        return f"transformer.{grain}_embedding.mlp.{_FEED_FORWARD_PARTS[part]}.weight"
    return None


def convert_state_dict(released: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], ConversionReport]:
    """Rename and check every tensor of a released checkpoint against the ``paper`` configuration.

    Raises:
        CheckpointError: a tensor is missing, or has another shape than the paper's network.
    """
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in VIPMTNetwork(PAPER).state_dict().items()}
    weights: dict[str, Tensor] = {}
    converted: dict[str, str] = {}
    unused = []
    for raw_key, value in released.items():
        key = raw_key.removeprefix("module.")
        name = rename(key)
        if name is None or name not in expected:
            unused.append(raw_key)
            continue
        # the released prototype and level embedding are one-row tables
        tensor = value.reshape(-1) if name in ("transformer.prototype", "transformer.level_embedding") else value
        if tuple(tensor.shape) != expected[name]:
            raise CheckpointError(
                f"{source}: {raw_key} has shape {list(value.shape)}, the paper's network has {list(expected[name])}; "
                "only ResNet-50 checkpoints of VIPMT can be converted"
            )
        weights[name] = tensor.detach().clone().contiguous()
        converted[raw_key] = name
    missing = tuple(sorted(set(expected) - set(weights)))
    if missing:
        raise CheckpointError(
            f"{source}: not a complete VIPMT checkpoint, {len(missing)} tensors are missing (the first is for "
            f"{missing[0]}); give the released .pth file"
        )
    return weights, ConversionReport(source, converted, tuple(unused), missing)


def convert_checkpoint(path: Path | str, out: Path | str) -> ConversionReport:
    """Convert a released checkpoint to a folder that ``VIPMT.from_pretrained`` reads.

    Writes model.safetensors, config.json and conversion.json (the report) to ``out``.

    Raises:
        CheckpointError: the checkpoint cannot be used, or ``out`` already holds something.
    """
    path, out = Path(path), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out}: already there; give an empty or new folder")
    weights, report = convert_state_dict(read_checkpoint(path), str(path))
    save_network(weights, PAPER, out)
    write_json(out / "conversion.json", asdict(report), indent=1)
    return report


def save_network(weights: Mapping[str, Tensor], config: VIPMTConfig, folder: Path) -> None:
    """Write weights and configuration to ``folder``, each file whole."""
    save_weights(weights, folder)
    write_json(folder / CONFIG_NAME, config.to_dict(), indent=1)


def load_network(folder: Path, **changes: Any) -> VIPMTNetwork:
    """The network saved in ``folder``, in evaluation mode; ``changes`` replace configuration fields.

    Raises:
        CheckpointError: no saved network there, or its weights do not fit its configuration.
    """
    config_file, weights_file = folder / CONFIG_NAME, folder / WEIGHTS
    if not config_file.is_file() or not weights_file.is_file():
        raise CheckpointError(
            f"{folder}: no {CONFIG_NAME} and {WEIGHTS} there; give a folder written by "
            "`fewmask convert vipmt` or `fewmask train vipmt`"
        )
    config = read_json(config_file, VIPMTConfig, "write it again", error=CheckpointError)
    refuse_larger(config_file, config.least_numbers, weights_file)
    try:
        network = VIPMTNetwork(replace(config, **changes))
    except FewmaskError:
        raise
    except Exception as error:  # whatever torch and timm make of such a shape
        raise CheckpointError(f"{config_file}: describes no network that can be ({_one_line(error)})") from error
    weights = read_checkpoint(weights_file)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{weights_file}: does not fit {CONFIG_NAME} ({_one_line(error)})") from error
    return network.eval()


def _grain(grain: str, frame: str | None) -> str:
    return _GRAINS["frame" if frame else grain]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
