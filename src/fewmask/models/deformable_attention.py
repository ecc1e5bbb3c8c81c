"""Multi-scale deformable attention as one weighted sum of rows, in plain torch; made for CPUs.

The usual formulation samples each level with `grid_sample`, stacks the samples and then weights and sums them: every
sample is written to memory several times. Bilinear sampling followed by a weighted sum is itself a weighted sum, of
4 corners x points x levels rows of the value map, and torch has a fused kernel for weighted sums of rows:
`embedding_bag`. Rows stay in the layout that the value projection writes, so nothing is transposed either. Other
runtimes lack such a sum; a graph made for them has `grid_sample`.

Same parameters, names and results (float32 within 1e-5) as transformers' module; see benchmarks/vis_throughput.py.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Shapes = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Where the tokens of several maps lie once each map has a border of one zero pixel.

    Attributes:
        x, y: own position of every token in pixels of every bordered map, [N, 1, L, 1].
        max_x, max_y: last position of each bordered map, [L, 1].
        width: int32 [L, 1], of the bordered maps.
        start: int32 [L, 1], first row of each bordered map.
        rows: of all bordered maps, and of a tail that the last map's lower corners may touch.
    """

    x: Tensor
    y: Tensor
    max_x: Tensor
    max_y: Tensor
    width: Tensor
    start: Tensor
    rows: int


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)  # what is kept must serve training too
def _geometry(shapes: Shapes, device: torch.device, dtype: torch.dtype) -> _Geometry:
    size = torch.tensor(shapes, dtype=dtype, device=device)  # [L, 2], height and width
    # In a map of W pixels, position p in [0, 1] is pixel p W - 0.5; the border shifts it by one.
    pixels = _centres(shapes, device, dtype)[:, None].flip(-1) * size + 0.5  # [N, L, 2], y and x
    areas = [(height + 2) * (width + 2) for height, width in shapes]
    starts = [sum(areas[:level]) for level in range(len(areas))]
    integers = torch.tensor([(width + 2, start) for (_, width), start in zip(shapes, starts, strict=True)])
    integers = integers.to(device, torch.int32)
    return _Geometry(
        x=pixels[:, None, :, None, 1].contiguous(),
        y=pixels[:, None, :, None, 0].contiguous(),
        max_x=size[:, 1:] + 1,
        max_y=size[:, :1] + 1,
        width=integers[:, :1],
        start=integers[:, 1:],
        rows=sum(areas) + shapes[-1][1] + 3,
    )


def deformable_sum(value: Tensor, shapes: Shapes, offsets: Tensor, weights: Tensor) -> Tensor:
    """For each token and head, the weighted sum of bilinear samples around the token's own position.

    Samples beyond a map's edge fade to zero, as `grid_sample` with zero padding has it.

    Args:
        value: [B, N, M, c] per head, the tokens of all maps one after another; any floating type.
        shapes: (height, width) of the L maps; N is the sum of their areas.
        offsets: [B, N, M, L, P, 2], (x, y) in pixels of the sampled map; float32 or float64.
        weights: [B, N, M, L, P], of the type of ``offsets``.

    Returns:
        [B, N, M * c], of the type of ``value``.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return _sampled_sum(value, shapes, offsets, weights)
    batch, tokens, heads, width = value.shape
    grid = _geometry(shapes, value.device, offsets.dtype)
    zero = offsets.new_zeros(())
    x = (offsets[..., 0] + grid.x).fmax(zero).fmin(grid.max_x)  # [B, N, M, L, P]; fmax takes NaN to 0
    y = (offsets[..., 1] + grid.y).fmax(zero).fmin(grid.max_y)
    left, top = x.floor(), y.floor()
    across, down = x - left, y - top
    low = weights * down
    low_right = low * across
    high_right = weights * across - low_right
    low_left = low - low_right
    high_left = weights - low - high_right

    row = top.to(torch.int32) * grid.width + left.to(torch.int32) + grid.start
    first = torch.arange(batch, dtype=torch.int32, device=value.device).view(batch, 1, 1, 1, 1) * grid.rows
    row = (row + first) * heads + torch.arange(heads, dtype=torch.int32, device=value.device).view(heads, 1, 1)
    below = row + grid.width * heads
    corners = torch.stack((row, row + heads, below, below + heads), dim=3)  # [B, N, M, 4, L, P]
    shares = torch.stack((high_left, high_right, low_left, low_right), dim=3)
    summed = functional.embedding_bag(
        corners.view(batch * tokens * heads, -1),
        _with_border(value, shapes, grid.rows).view(-1, width),
        per_sample_weights=shares.view(batch * tokens * heads, -1).to(value.dtype),
        mode="sum",
    )
    return summed.view(batch, tokens, heads * width)


def _sampled_sum(value: Tensor, shapes: Shapes, offsets: Tensor, weights: Tensor) -> Tensor:
    """`deformable_sum` in operators that other runtimes have, level by level."""
    batch, tokens, heads, width = value.shape
    centres = _centres(shapes, offsets.device, offsets.dtype)[:, None, None]  # [N, 1, 1, 2], in [0, 1]
    parts = torch.split(value, [height * columns for height, columns in shapes], dim=1)
    total: Tensor | None = None
    for level, (part, (height, columns)) in enumerate(zip(parts, shapes, strict=True)):
        maps = part.permute(0, 2, 3, 1).reshape(batch * heads, width, height, columns)
        place = centres + offsets[:, :, :, level] / offsets.new_tensor([columns, height])  # [B, N, M, P, 2]
        grid = (2 * place - 1).transpose(1, 2).flatten(0, 1)  # [B M, N, P, 2]
        samples = functional.grid_sample(
            maps, grid.to(maps.dtype), mode="bilinear", padding_mode="zeros", align_corners=False
        )  # [B M, c, N, P]
        share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]  # [B M, 1, N, P]
        found = (samples * share.to(samples.dtype)).sum(-1)
        total = found if total is None else total + found
    assert total is not None
    return total.view(batch, heads * width, tokens).transpose(1, 2)


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)
def _centres(shapes: Shapes, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Own position (x, y) of every token in its map, in [0, 1], [N, 2]."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height, dtype=dtype, device=device) + 0.5) / height
        x = (torch.arange(width, dtype=dtype, device=device) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        centres.append(torch.stack((columns, rows), dim=-1).view(-1, 2))
    return torch.cat(centres)


def _with_border(value: Tensor, shapes: Shapes, rows: int) -> Tensor:
    """Value maps [B, N, M, c] with a zero pixel all around each, [B, rows, M, c]."""
    batch, per_token = value.shape[0], value.shape[2:]
    bordered = value.new_zeros(batch, rows, *per_token)
    source = target = 0
    for height, width in shapes:
        last, area = source + height * width, (height + 2) * (width + 2)
        level = bordered[:, target : target + area].view(batch, height + 2, width + 2, *per_token)
        level[:, 1:-1, 1:-1] = value[:, source:last].reshape(batch, height, width, *per_token)
        source, target = last, target + area
    return bordered


class FastDeformableAttention(nn.Module):
    """Takes the place, the projections and the parameter names of transformers' deformable attention in Mask2Former."""

    def __init__(self, replaced: Any) -> None:
        super().__init__()
        self.sampling_offsets: nn.Linear = replaced.sampling_offsets
        self.attention_weights: nn.Linear = replaced.attention_weights
        self.value_proj: nn.Linear = replaced.value_proj
        self.output_proj: nn.Linear = replaced.output_proj
        self.heads: int = replaced.n_heads
        self.levels: int = replaced.n_levels
        self.points: int = replaced.n_points

    def forward(
        self,
        hidden_states: Tensor,
        *,
        encoder_hidden_states: Tensor,
        position_embeddings: Tensor,
        spatial_shapes_list: list[tuple[int, int]],
        **_unused: object,
    ) -> tuple[Tensor, Tensor]:
        """Attention of every token of all maps to those maps.

        Mask2Former has no padding inside its maps, so the mask and reference points that transformers hands over say
        nothing new; positions are computed here, in float32 even where the network runs in bfloat16.

        Args:
            hidden_states: queries [B, N, C], without positions.
            encoder_hidden_states: values [B, N, C].
            position_embeddings: added to the queries.
            spatial_shapes_list: (height, width) of each map.

        Returns:
            The result [B, N, C] and the attention weights [B, N, heads, levels, points].
        """
        query = hidden_states + position_embeddings
        batch, tokens, _ = query.shape
        exact = torch.float64 if query.dtype == torch.float64 else torch.float32
        per_head = (batch, tokens, self.heads)
        value = self.value_proj(encoder_hidden_states).view(*per_head, -1)
        offsets = self.sampling_offsets(query).to(exact).view(*per_head, self.levels, self.points, 2)
        weights = self.attention_weights(query).to(exact).view(*per_head, -1).softmax(-1)
        weights = weights.view(*per_head, self.levels, self.points)
        shapes = tuple((int(height), int(width)) for height, width in spatial_shapes_list)
        return self.output_proj(deformable_sum(value, shapes, offsets, weights)), weights


def use_fast_deformable_attention(model: nn.Module) -> int:
    """Put `FastDeformableAttention` into a transformers Mask2Former, in place; state dict and results stay the same.

    Returns:
        Number of layers replaced; 0 if the model has no deformable attention, or has it already.
    """
    from transformers.models.mask2former import modeling_mask2former as mask2former

    slow = mask2former.Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention
    parents = [module for module in model.modules() if isinstance(getattr(module, "self_attn", None), slow)]
    for parent in parents:
        parent.self_attn = FastDeformableAttention(parent.self_attn)
    return len(parents)
