"""Multi-headed attention and the three kinds of layers: encoder, query-support fuser, decoder (Section 5, Fig. 4).

Sequences are [L, d], one clip at a time as the paper trains. Attention goes through scaled_dot_product_attention, which
never forms the [L, L] weights: 11,520 query tokens against 43,200 of five supports fit. All layers normalise after the
residual, as DETR's do.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """MA(Q, K, V) with linear projections."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Query [Lq, d], key and value [Lk, d] -> [Lq, d]."""
        q, k, v = self.split(self.query(query)), self.split(self.key(key)), self.split(self.value(value))
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out(mixed[0].transpose(0, 1).flatten(1))  # type: ignore[no-any-return]

    def split(self, x: Tensor) -> Tensor:
        """[L, d] -> [1, heads, L, d / heads]."""
        return x.view(len(x), self.heads, -1).transpose(0, 1)[None]


class FeedForward(nn.Module):
    """The residual two-layer MLP with its normalisation."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[L, d] -> [L, d]."""
        return self.norm(x + self.layers(x))  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Self-attention over all places and times of one clip."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, hidden, dropout)

    def forward(self, x: Tensor, code: Tensor | None) -> Tensor:
        """Tokens [L, d] and their position code [L, d] -> [L, d]; the code enters queries and keys."""
        placed = x if code is None else x + code
        x = self.norm(x + self.dropout(self.attention(placed, placed, x)))
        return self.feed_forward(x)  # type: ignore[no-any-return]


class FuserLayer(nn.Module):
    """Query and support enhance each other, then the support is fused into the query (eq. 4)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.query_from_support = Attention(width, heads, dropout)
        self.support_from_query = Attention(width, heads, dropout)
        self.fuse = Attention(width, heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm_query = nn.LayerNorm(width)
        self.norm_support = nn.LayerNorm(width)
        self.norm_fused = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, hidden, dropout)

    def forward(self, query: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """E_q [Lq, d] and E_s [Ls, d] -> F [Lq, d] and the enhanced support [Ls, d], what a further layer takes."""
        from_support = self.dropout(self.query_from_support(query, support, support))
        from_query = self.dropout(self.support_from_query(support, query, query))
        query, support = self.norm_query(query + from_support), self.norm_support(support + from_query)
        fused = self.norm_fused(query + self.dropout(self.fuse(query, support, support)))
        return self.feed_forward(fused), support


class DecoderLayer(nn.Module):
    """Instance queries look at one another and at the fused features."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads, dropout)
        self.cross_attention = Attention(width, heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm_self = nn.LayerNorm(width)
        self.norm_cross = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, hidden, dropout)

    def forward(self, x: Tensor, query_code: Tensor, memory: Tensor) -> Tensor:
        """Instance features [N, d] -> [N, d].

        Args:
            x: instance features so far.
            query_code: their learned codes [N, d].
            memory: F with position code, [L, d]: keys, and values too, so that boxes can be read off what was seen.
        """
        placed = x + query_code
        x = self.norm_self(x + self.dropout(self.self_attention(placed, placed, x)))
        x = self.norm_cross(x + self.dropout(self.cross_attention(x + query_code, memory, memory)))
        return self.feed_forward(x)  # type: ignore[no-any-return]
