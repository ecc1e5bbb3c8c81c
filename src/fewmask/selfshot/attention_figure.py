"""Figure 5: where the fuser looks, in the query and in the supports, drawn over the pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fewmask.errors import ConfigError, VideoError
from fewmask.selfshot.attention import Attention, FuserLayer
from fewmask.selfshot.transformer import CommonInstanceTransformer, EncodedSupports

ROWS = 1024
"""Queries of attention whose weights are in memory at a time."""


class FuserAttention(NamedTuple):
    """How much attention places receive, as multiples of an even share.

    Attributes:
        query: of all supports together, [T, h, w]; 1 everywhere if nothing stands out.
        supports: of the query, of each support clip, [T_i, h, w]; even is even over all clips.
    """

    query: Tensor
    supports: tuple[Tensor, ...]


@torch.inference_mode()
def fuser_attention(network: CommonInstanceTransformer, clip: Tensor, supports: Sequence[Tensor]) -> FuserAttention:
    """What the last fuser layer attends to.

    Args:
        network: in evaluation mode.
        clip: query, uint8 [T, H, W, 3] as the network takes it.
        supports: likewise, T_i frames each.

    Raises:
        ConfigError: the network has no fuser, or there is no support.
    """
    if not network.fuser:
        raise ConfigError("the network has no fuser layer (fuser_layers = 0), so there is no attention to draw")
    encoded = [network.encode(one, support=True) for one in supports]
    layer = network.fuser[-1]
    assert isinstance(layer, FuserLayer)
    asked: dict[Attention, tuple[Tensor, Tensor]] = {}

    def keep(attention: Attention, given: tuple[Tensor, Tensor, Tensor]) -> None:
        asked[attention] = given[:2]

    hooks = [one.register_forward_pre_hook(keep) for one in (layer.support_from_query, layer.query_from_support)]
    try:
        network(clip, EncodedSupports.joined([network.encode_supports([one]) for one in supports]))
    finally:
        for hook in hooks:
            hook.remove()
    in_query = received(layer.support_from_query, *asked[layer.support_from_query])
    in_supports = received(layer.query_from_support, *asked[layer.query_from_support])
    height, width = encoded[0].grid[1:]
    parts = torch.split(in_supports, [len(one.tokens) for one in encoded])
    return FuserAttention(
        in_query.view(len(clip), height, width),
        tuple(part.view(one.grid) for part, one in zip(parts, encoded, strict=True)),
    )


def received(attention: Attention, query: Tensor, key: Tensor) -> Tensor:
    """Mean over queries [Lq, d] and heads of the weights of every key [Lk, d], times Lk; [Lk] of mean 1."""
    keys = attention.split(attention.key(key))[0]
    total = torch.zeros(len(key), device=key.device)
    for rows in torch.split(query, ROWS):
        asking = attention.split(attention.query(rows))[0]
        weights = (asking @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5).softmax(-1)  # [heads, rows, Lk]
        total += weights.float().mean(0).sum(0)
    return total * (len(key) / len(query))


def draw_attention(pictures: Tensor, shares: Tensor, path: Path, *, most: int = 8) -> None:
    """A strip of frames, each with its attention below it: blue is none, red the most of the clip.

    Args:
        pictures: uint8 [T, H, W, 3], RGB.
        shares: [T, h, w].
        path: of the picture, JPEG or PNG by its ending.
        most: frames shown, evenly spread.

    Raises:
        VideoError: the file cannot be written.
    """
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(most, len(pictures))).round().astype(int))
    heat: npt.NDArray[np.float32] = (shares / shares.max().clamp(min=1e-12)).float().cpu().numpy()
    columns = []
    for t in chosen:
        bgr = np.ascontiguousarray(pictures[t].cpu().numpy()[:, :, ::-1])
        large = cv2.resize(heat[t], bgr.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        coloured = cv2.applyColorMap((255 * large.clip(0, 1)).astype(np.uint8), cv2.COLORMAP_JET)
        columns.append(np.concatenate([bgr, cv2.addWeighted(bgr, 0.5, coloured, 0.5, 0)]))
    if not cv2.imwrite(str(path), np.concatenate(columns, axis=1)):
        raise VideoError(f"{path}: cannot be written; choose another folder or ending")
