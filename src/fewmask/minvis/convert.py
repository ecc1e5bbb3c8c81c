"""Official MinVIS and Mask2Former checkpoints into a folder that transformers reads, and back.

The network's shape is read from the tensors themselves. Every official tensor is used, checked, or named as unused in
the report; nothing is dropped in silence. `restore_official` is the way back.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Mask2FormerConfig, ResNetConfig, SwinConfig

from fewmask.errors import CheckpointError, DatasetError
from fewmask.media.atomic import whole_file, write_json
from fewmask.minvis.official_names import RENAMED, links, relative_position_index_names
from fewmask.minvis.pixels import DEFAULT_SHORT_SIDE, PixelNormalisation
from fewmask.minvis.preprocessor import write_preprocessor
from fewmask.models.checkpoint_file import read_checkpoint

Action = Literal["copied", "split", "computed", "unused", "default"]
REPORT_FILE = "conversion.json"

_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_FOREIGN = re.compile(r"^(backbone|sem_seg_head)\.")  # an unknown name here means another network


@dataclass(frozen=True, slots=True)
class KeyReport:
    """What became of one tensor.

    Attributes:
        official: its name in the checkpoint; None for a tensor that only transformers has.
        ours: its names in model.safetensors; none for a tensor that transformers computes.
        action: copied; split in equal parts; computed (an index table, equal to ours); unused (not of the network);
            default (not in official checkpoints and without effect on the output).
    """

    official: str | None
    ours: tuple[str, ...]
    action: Action


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """The fate of every tensor of a checkpoint, and where the result is."""

    folder: Path
    keys: tuple[KeyReport, ...]

    def counts(self) -> dict[Action, int]:
        """Number of tensors by what happened to them."""
        return {action: sum(key.action == action for key in self.keys) for action in get_args(Action)}


def convert_minvis(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    categories: str | Path | None = None,
    short_side: int | None = DEFAULT_SHORT_SIDE,
) -> ConversionReport:
    """Write config.json, model.safetensors, preprocessor_config.json and the report into a new folder.

    Args:
        checkpoint: .pth, .pkl or .safetensors with official (detectron2) names.
        folder: must not hold a model yet.
        categories: YTVIS or COCO JSON file whose categories, by rising id, name the classes; checkpoints have no names.
        short_side: the test size these weights were trained for, for example 480 for Swin-L on YouTube-VIS 2019.

    Raises:
        CheckpointError: unreadable, tensors missing or unknown, or the folder is taken.
        DatasetError: ``categories`` is no such file, or has another number of classes.
    """
    folder = Path(folder)
    if (folder / "config.json").exists() or (folder / "model.safetensors").exists():
        raise CheckpointError(f"{folder}: already holds a model; choose another folder for --out")
    official = read_checkpoint(checkpoint)
    names = None if categories is None else read_category_names(Path(categories))
    try:
        config = infer_config(official)
        tensors, keys = from_official(official, config)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from error
    if names is not None:
        if len(names) != config.num_labels:
            raise DatasetError(f"{categories}: {len(names)} categories, the checkpoint has {config.num_labels} classes")
        config.id2label = dict(enumerate(names))
        config.label2id = {name: index for index, name in enumerate(names)}
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "model.safetensors") as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {"format": "pt"})
    config.architectures = ["Mask2FormerForUniversalSegmentation"]
    config.save_pretrained(folder)
    write_preprocessor(folder, PixelNormalisation(), short_side)
    write_json(folder / REPORT_FILE, [asdict(key) for key in keys], indent=1)
    return ConversionReport(folder=folder, keys=tuple(keys))


def from_official(
    official: Mapping[str, Tensor], config: Mask2FormerConfig
) -> tuple[dict[str, Tensor], list[KeyReport]]:
    """Tensors under transformers' names, and what became of each official one.

    Raises:
        CheckpointError: a tensor is missing, or unknown inside the network, or an index table is not ours.
    """
    given = {RENAMED.get(name, name): tensor for name, tensor in official.items()}
    tensors: dict[str, Tensor] = {}
    keys: list[KeyReport] = []
    for link in links(config):
        tensor = given.pop(link.official, None)
        if tensor is None:
            if link.official != "criterion.empty_weight":
                raise CheckpointError(f"{link.official} is missing; is this a Mask2Former or MinVIS checkpoint?")
            tensor = _empty_weight(config)
            keys.append(KeyReport(None, link.ours, "default"))
        else:
            keys.append(KeyReport(link.official, link.ours, "copied" if len(link.ours) == 1 else "split"))
        tensors.update(zip(link.ours, tensor.chunk(len(link.ours)), strict=True))
    keys.extend(_check_index_tables(given, config))
    for name, tensor in _without_official_name(tensors, config).items():
        tensors[name] = tensor
        keys.append(KeyReport(None, (name,), "default"))
    unknown = next((name for name in given if _FOREIGN.match(name)), None)
    if unknown is not None:
        raise CheckpointError(f"{unknown} belongs to no Mask2Former with a ResNet or Swin backbone")
    keys.extend(KeyReport(name, (), "unused") for name in given)
    return tensors, keys


def restore_official(folder: str | Path) -> dict[str, Tensor]:
    """The official tensors of a converted folder, under their official names, index tables included.

    Raises:
        CheckpointError: the folder holds no Mask2Former with a ResNet or Swin backbone.
    """
    folder = Path(folder)
    try:
        config = Mask2FormerConfig.from_pretrained(folder)
        tensors = load_file(folder / "model.safetensors")
        return to_official(tensors, config)
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{folder}: not a Mask2Former with a ResNet or Swin backbone ({error})") from error


def to_official(tensors: Mapping[str, Tensor], config: Mask2FormerConfig) -> dict[str, Tensor]:
    """`from_official` the other way: tensors under transformers' names on file to official names."""
    official = {link.official: torch.cat([tensors[name] for name in link.ours]) for link in links(config)}
    if isinstance(config.backbone_config, SwinConfig):
        table = relative_position_index(config.backbone_config.window_size)
        official.update((name, table.clone()) for name in relative_position_index_names(config.backbone_config))
    return official


def infer_config(official: Mapping[str, Tensor]) -> Mask2FormerConfig:
    """The configuration whose shapes these tensors have.

    Raises:
        CheckpointError: a tensor that tells the shape is missing.
    """
    shapes = _Shapes(official)
    head = "sem_seg_head.predictor"
    first_layer = "sem_seg_head.pixel_decoder.transformer.encoder.layers.0"
    queries = "query_feat" if f"{head}.query_feat.weight" in official else "static_query"
    class_rows, hidden = shapes[f"{head}.class_embed.weight"]
    attention_rows = shapes[f"{first_layer}.self_attn.attention_weights.weight"][0]
    return Mask2FormerConfig(
        backbone_config=_infer_resnet(shapes) if "backbone.stem.conv1.weight" in official else _infer_swin(shapes),
        feature_size=shapes["sem_seg_head.pixel_decoder.adapter_1.weight"][0],
        mask_feature_size=shapes["sem_seg_head.pixel_decoder.mask_features.weight"][0],
        hidden_dim=hidden,
        num_labels=class_rows - 1,
        num_queries=shapes[f"{head}.{queries}.weight"][0],
        num_attention_heads=attention_rows // 12,  # 3 levels x 4 points
        encoder_feedforward_dim=shapes[f"{first_layer}.linear1.weight"][0],
        dim_feedforward=shapes[f"{head}.transformer_ffn_layers.0.linear1.weight"][0],
        encoder_layers=shapes.count(r"sem_seg_head\.pixel_decoder\.transformer\.encoder\.layers\.(\d+)\."),
        decoder_layers=shapes.count(r"sem_seg_head\.predictor\.transformer_ffn_layers\.(\d+)\.") + 1,
    )


class _Shapes:
    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> tuple[int, ...]:
        if name not in self._tensors:
            raise CheckpointError(f"{name} is missing; is this a Mask2Former or MinVIS checkpoint?")
        return tuple(self._tensors[name].shape)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def count(self, pattern: str) -> int:
        """Number of different indices that the group of ``pattern`` takes."""
        found = (re.match(pattern, name) for name in self._tensors)
        return len({match.group(1) for match in found if match})


def _infer_resnet(shapes: _Shapes) -> ResNetConfig:
    bottleneck = "backbone.res2.0.conv3.weight" in shapes
    last = "conv3" if bottleneck else "conv2"
    return ResNetConfig(
        embedding_size=shapes["backbone.stem.conv1.weight"][0],
        hidden_sizes=[shapes[f"backbone.res{stage}.0.{last}.weight"][0] for stage in range(2, 6)],
        depths=[shapes.count(rf"backbone\.res{stage}\.(\d+)\.") for stage in range(2, 6)],
        layer_type="bottleneck" if bottleneck else "basic",
        downsample_in_bottleneck=False,  # stride in the 3x3 convolution
        out_features=_STAGES,
    )


def _infer_swin(shapes: _Shapes) -> SwinConfig:
    if "backbone.absolute_pos_embed" in shapes:
        raise CheckpointError("backbone.absolute_pos_embed: Swin with absolute positions is not used by these models")
    tables = [shapes[f"backbone.layers.{i}.blocks.0.attn.relative_position_bias_table"] for i in range(4)]
    width, _, _, patch = shapes["backbone.patch_embed.proj.weight"]
    return SwinConfig(
        patch_size=patch,
        embed_dim=width,
        depths=[shapes.count(rf"backbone\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(4)],
        num_heads=[heads for _, heads in tables],
        window_size=(round(tables[0][0] ** 0.5) + 1) // 2,  # (2w - 1)^2 rows
        mlp_ratio=shapes["backbone.layers.0.blocks.0.mlp.fc1.weight"][0] / width,
        drop_path_rate=0.3,
        out_features=_STAGES,
    )


def relative_position_index(window: int) -> Tensor:
    """Row of the bias table for each pair of positions in a window, int64 [window^2, window^2]."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows[None, :] + window - 1
    right = columns[:, None] - columns[None, :] + window - 1
    return down * (2 * window - 1) + right


def _check_index_tables(given: dict[str, Tensor], config: Mask2FormerConfig) -> list[KeyReport]:
    """Take the index tables out of ``given``, comparing them with what transformers computes."""
    if not isinstance(config.backbone_config, SwinConfig):
        return []
    expected = relative_position_index(config.backbone_config.window_size)
    found = [name for name in relative_position_index_names(config.backbone_config) if name in given]
    for name in found:
        if not torch.equal(given.pop(name).long(), expected):
            raise CheckpointError(f"{name} is not the index table of its window size")
    return [KeyReport(name, (), "computed") for name in found]


def _without_official_name(tensors: Mapping[str, Tensor], config: Mask2FormerConfig) -> dict[str, Tensor]:
    """What transformers stores beyond the official network; none of it changes the output."""
    if isinstance(config.backbone_config, ResNetConfig):
        norms = [name.removesuffix("running_mean") for name in tensors if name.endswith(".running_mean")]
        return {f"{norm}num_batches_tracked": torch.zeros((), dtype=torch.int64) for norm in norms}
    width = config.backbone_config.hidden_size  # of the classifier's norm, which a backbone does not use
    norm = "model.pixel_level_module.encoder.swin.layernorm"
    return {f"{norm}.weight": torch.ones(width), f"{norm}.bias": torch.zeros(width)}


def _empty_weight(config: Mask2FormerConfig) -> Tensor:
    weight = torch.ones(config.num_labels + 1)
    weight[-1] = config.no_object_weight
    return weight


def read_category_names(path: Path) -> list[str]:
    """Class names in the order of their ids, from the ``categories`` of a YTVIS or COCO file.

    Raises:
        DatasetError: the file cannot be read, or has no categories with id and name.
    """
    try:
        categories = json.loads(path.read_text(encoding="utf-8"))["categories"]
        return [str(category["name"]) for category in sorted(categories, key=lambda category: category["id"])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: no YTVIS or COCO file with categories ({error!r})") from error
