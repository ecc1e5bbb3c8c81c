"""Query activation QA (eq 7 and 12): a frame's prototype refreshes the frame's tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewmask.vipmt.attention import FeedForward
from fewmask.vipmt.heads import residual_block

REDUCTION = 4
"""Keys and values of the self-attention are taken on a grid this many times coarser."""


class ReducedSelfAttention(nn.Module):
    """Multi-head self-attention of a frame's tokens with keys and values reduced by a strided convolution.

    The paper names only "two convolution layers" for QA; this part is in the released code (it took the place of
    IPMT's deformable attention).
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.output = nn.Linear(channels, channels)
        self.reduce = nn.Conv2d(channels, channels, REDUCTION, stride=REDUCTION)
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [T, C, h, w] -> [T, h w, C]."""
        frames, channels, height, width = x.shape
        # grids smaller than the reduction are padded up to one cell
        padded = functional.pad(x, (0, max(REDUCTION - width, 0), 0, max(REDUCTION - height, 0)))
        reduced = self.norm(self.reduce(padded).flatten(2).transpose(1, 2))
        query = self.query(x.flatten(2).transpose(1, 2))
        key, value = self.key_value(reduced).chunk(2, dim=-1)

        def split(tokens: Tensor) -> Tensor:
            return tokens.reshape(frames, -1, self.heads, channels // self.heads).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            split(query), split(key), split(value), dropout_p=self.dropout.p if self.training else 0.0
        )
        output: Tensor = self.dropout(self.output(mixed.transpose(1, 2).reshape(frames, height * width, channels)))
        return output


class QueryActivation(nn.Module):
    """F_l = QA(G, F_{l-1}), frame by frame."""

    def __init__(self, channels: int, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.merge = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.residual = residual_block(channels)
        self.self_attention = ReducedSelfAttention(channels, heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.first_norm = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels, hidden, dropout)
        self.second_norm = nn.LayerNorm(channels)

    def forward(self, prototypes: Tensor, tokens: Tensor, position: Tensor) -> Tensor:
        """Prototypes [T, C], tokens [T, C, h, w], position code [C, h, w] -> tokens [T, C, h, w]."""
        spread = prototypes[:, :, None, None].expand_as(tokens)
        z = self.merge(torch.cat((tokens, spread), dim=1)).relu()
        z = z + self.residual(z)
        flat = z.flatten(2).transpose(1, 2)
        flat = flat + self.dropout(self.self_attention(z + position))
        flat = self.second_norm(self.feed_forward(self.first_norm(flat)))
        activated: Tensor = flat.transpose(1, 2).reshape(tokens.shape)
        return activated
