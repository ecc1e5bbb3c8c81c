"""The names of official Mask2Former and MinVIS parameters (detectron2's), beside transformers' names on file.

`links` spells both out for a given configuration, one `Link` per official tensor, so that conversion runs both ways.
Where transformers keeps query, key and value apart, one official tensor is three of ours, stacked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from transformers import Mask2FormerConfig, ResNetConfig, SwinConfig

_PIXEL = "model.pixel_level_module"
_DECODER = "model.transformer_module"
_WEIGHT_AND_BIAS = ("weight", "bias")
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Link:
    """One official tensor and the tensor, or the tensors stacked along axis 0, that hold the same values here."""

    official: str
    ours: tuple[str, ...]


# Names that early Mask2Former releases used, and what replaced them.
RENAMED = {"sem_seg_head.predictor.static_query.weight": "sem_seg_head.predictor.query_feat.weight"}


def links(config: Mask2FormerConfig) -> list[Link]:
    """Every floating-point tensor of the official checkpoint of this configuration, criterion buffer included."""
    backbone = config.backbone_config
    body = _resnet(backbone) if isinstance(backbone, ResNetConfig) else _swin(backbone)
    return [
        *body,
        *_pixel_decoder(config),
        *_query_decoder(config),
        Link("criterion.empty_weight", ("criterion.empty_weight",)),
    ]


def _same(official: str, ours: str, parts: tuple[str, ...] = _WEIGHT_AND_BIAS) -> Iterator[Link]:
    for part in parts:
        yield Link(f"{official}.{part}", (f"{ours}.{part}",))


def _resnet(config: ResNetConfig) -> Iterator[Link]:
    theirs, ours = "backbone", f"{_PIXEL}.encoder"
    yield from _convolution_with_norm(f"{theirs}.stem.conv1", f"{ours}.embedder.embedder")
    convolutions = 3 if config.layer_type == "bottleneck" else 2
    widths = [config.embedding_size, *config.hidden_sizes]
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            their_block = f"{theirs}.res{stage + 2}.{block}"
            our_block = f"{ours}.encoder.stages.{stage}.layers.{block}"
            # The first block of a stage changes stride or width, and then projects its shortcut too.
            if block == 0 and (stage > 0 or widths[0] != widths[1]):
                yield from _convolution_with_norm(f"{their_block}.shortcut", f"{our_block}.shortcut")
            for index in range(convolutions):
                yield from _convolution_with_norm(f"{their_block}.conv{index + 1}", f"{our_block}.layer.{index}")


def _convolution_with_norm(official: str, ours: str) -> Iterator[Link]:
    yield from _same(official, f"{ours}.convolution", ("weight",))
    yield from _same(f"{official}.norm", f"{ours}.normalization", _BATCH_NORM)


def _swin(config: SwinConfig) -> Iterator[Link]:
    theirs, ours = "backbone", f"{_PIXEL}.encoder"
    yield from _same(f"{theirs}.patch_embed.proj", f"{ours}.embeddings.patch_embeddings.projection")
    yield from _same(f"{theirs}.patch_embed.norm", f"{ours}.embeddings.norm")
    for stage, depth in enumerate(config.depths):
        their_stage, our_stage = f"{theirs}.layers.{stage}", f"{ours}.encoder.layers.{stage}"
        for block in range(depth):
            yield from _swin_block(f"{their_stage}.blocks.{block}", f"{our_stage}.blocks.{block}")
        if stage + 1 < len(config.depths):
            yield from _same(f"{their_stage}.downsample.reduction", f"{our_stage}.downsample.reduction", ("weight",))
            yield from _same(f"{their_stage}.downsample.norm", f"{our_stage}.downsample.norm")
        yield from _same(f"{theirs}.norm{stage}", f"{ours}.hidden_states_norms.stage{stage + 1}")


def _swin_block(theirs: str, ours: str) -> Iterator[Link]:
    attention = f"{ours}.attention.self"
    yield from _same(f"{theirs}.norm1", f"{ours}.layernorm_before")
    table = "relative_position_bias_table"
    yield Link(f"{theirs}.attn.{table}", (f"{attention}.{table}",))
    for part in _WEIGHT_AND_BIAS:
        yield Link(
            f"{theirs}.attn.qkv.{part}", tuple(f"{attention}.{name}.{part}" for name in ("query", "key", "value"))
        )
    yield from _same(f"{theirs}.attn.proj", f"{ours}.attention.output.dense")
    yield from _same(f"{theirs}.norm2", f"{ours}.layernorm_after")
    yield from _same(f"{theirs}.mlp.fc1", f"{ours}.intermediate.dense")
    yield from _same(f"{theirs}.mlp.fc2", f"{ours}.output.dense")


def relative_position_index_names(config: SwinConfig) -> list[str]:
    """Official names of the index tables, which transformers computes from the window size."""
    return [
        f"backbone.layers.{stage}.blocks.{block}.attn.relative_position_index"
        for stage, depth in enumerate(config.depths)
        for block in range(depth)
    ]


def _pixel_decoder(config: Mask2FormerConfig) -> Iterator[Link]:
    theirs, ours = "sem_seg_head.pixel_decoder", f"{_PIXEL}.decoder"
    for level in range(3):
        for part in (0, 1):  # convolution, group norm
            yield from _same(f"{theirs}.input_proj.{level}.{part}", f"{ours}.input_projections.{level}.{part}")
    yield Link(f"{theirs}.transformer.level_embed", (f"{ours}.level_embed",))
    for layer in range(config.encoder_layers):
        their_layer, our_layer = f"{theirs}.transformer.encoder.layers.{layer}", f"{ours}.encoder.layers.{layer}"
        for part_name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            yield from _same(f"{their_layer}.self_attn.{part_name}", f"{our_layer}.self_attn.{part_name}")
        yield from _same(f"{their_layer}.norm1", f"{our_layer}.self_attn_layer_norm")
        yield from _same(f"{their_layer}.linear1", f"{our_layer}.fc1")
        yield from _same(f"{their_layer}.linear2", f"{our_layer}.fc2")
        yield from _same(f"{their_layer}.norm2", f"{our_layer}.final_layer_norm")
    yield from _same(f"{theirs}.mask_features", f"{ours}.mask_projection")
    for name in ("adapter_1", "layer_1"):
        yield from _same(f"{theirs}.{name}", f"{ours}.{name}.0", ("weight",))
        yield from _same(f"{theirs}.{name}.norm", f"{ours}.{name}.1")


def _query_decoder(config: Mask2FormerConfig) -> Iterator[Link]:
    theirs, ours = "sem_seg_head.predictor", _DECODER
    for layer in range(config.decoder_layers - 1):  # transformers counts the learned queries' output as a layer
        our_layer = f"{ours}.decoder.layers.{layer}"
        attention = f"{theirs}.transformer_self_attention_layers.{layer}"
        for part in _WEIGHT_AND_BIAS:
            split = tuple(f"{our_layer}.self_attn.{name}_proj.{part}" for name in ("q", "k", "v"))
            yield Link(f"{attention}.self_attn.in_proj_{part}", split)
        yield from _same(f"{attention}.self_attn.out_proj", f"{our_layer}.self_attn.out_proj")
        yield from _same(f"{attention}.norm", f"{our_layer}.self_attn_layer_norm")
        attention = f"{theirs}.transformer_cross_attention_layers.{layer}"
        for part in _WEIGHT_AND_BIAS:
            yield Link(f"{attention}.multihead_attn.in_proj_{part}", (f"{our_layer}.cross_attn.in_proj_{part}",))
        yield from _same(f"{attention}.multihead_attn.out_proj", f"{our_layer}.cross_attn.out_proj")
        yield from _same(f"{attention}.norm", f"{our_layer}.cross_attn_layer_norm")
        feedforward = f"{theirs}.transformer_ffn_layers.{layer}"
        yield from _same(f"{feedforward}.linear1", f"{our_layer}.fc1")
        yield from _same(f"{feedforward}.linear2", f"{our_layer}.fc2")
        yield from _same(f"{feedforward}.norm", f"{our_layer}.final_layer_norm")
    yield from _same(f"{theirs}.decoder_norm", f"{ours}.decoder.layernorm")
    yield from _same(f"{theirs}.query_feat", f"{ours}.queries_features", ("weight",))
    yield from _same(f"{theirs}.query_embed", f"{ours}.queries_embedder", ("weight",))
    yield from _same(f"{theirs}.level_embed", f"{ours}.level_embed", ("weight",))
    yield from _same(f"{theirs}.class_embed", "class_predictor")
    for layer in range(3):
        our_layer = f"{ours}.decoder.mask_predictor.mask_embedder.{layer}.0"
        yield from _same(f"{theirs}.mask_embed.layers.{layer}", our_layer)
