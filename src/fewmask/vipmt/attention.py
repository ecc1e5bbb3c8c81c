"""Masked attention (eq 4) of one prototype over many tokens, and the feed-forward blocks around it."""

import torch
from torch import Tensor, nn

from fewmask.vipmt.initial_scales import keep_scale

OUTSIDE = -10_000.0
"""Delta of eq 4. The paper's minus infinity gives NaN on an empty mask; a finite value cannot."""


class MaskedAttention(nn.Module):
    """MAtt(G, F, O) of eq 4, with the 1 / sqrt(C) that the paper leaves out, and an output projection.

    The prototype G is a single vector, so keys and values are never projected token by token:
    (W_q G) . (W_k F) = (W_k' W_q G) . F, and W_v distributes over the weighted sum. The numbers are the same, the
    cost falls from N C^2 to N C.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.output = nn.Linear(channels, channels, bias=False)
        keep_scale(self.value)
        keep_scale(self.output)
        self.dropout = nn.Dropout(dropout)

    def weights(self, prototype: Tensor, tokens: Tensor, inside: Tensor) -> Tensor:
        """Attention of ``prototype`` [..., C] over ``tokens`` [..., N, C] where ``inside`` bool [..., N] -> [..., N].

        An empty mask attends everywhere.
        """
        probe = self.query(prototype) @ self.key.weight / prototype.shape[-1] ** 0.5  # [..., C]
        logits = (tokens @ probe[..., None]).squeeze(-1)
        precise = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        attended = inside | ~inside.any(-1, keepdim=True)
        attention = (precise + (~attended).to(precise.dtype) * OUTSIDE).softmax(-1)
        dropped: Tensor = self.dropout(attention.to(tokens.dtype))
        return dropped

    def gather(self, weights: Tensor, tokens: Tensor) -> Tensor:
        """Weights [..., N] and tokens [..., N, C] -> the projected weighted sum [..., C]."""
        summed = (weights[..., None, :] @ tokens).squeeze(-2)
        gathered: Tensor = self.dropout(self.output(self.value(summed)))
        return gathered

    def forward(self, prototype: Tensor, tokens: Tensor, inside: Tensor) -> Tensor:
        """MAtt(G, F, O): [..., C], [..., N, C], bool [..., N] -> [..., C]."""
        return self.gather(self.weights(prototype, tokens, inside), tokens)


class FeedForward(nn.Module):
    """Residual two-layer perceptron without biases."""

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, hidden, bias=False)
        self.contract = nn.Linear(hidden, channels, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        update: Tensor = self.dropout(self.contract(self.dropout(self.expand(x).relu())))
        return x + update


class PostNorm(nn.Module):
    """What follows every masked attention: residual, normalise, feed forward, normalise."""

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first_norm = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels, hidden, dropout)
        self.second_norm = nn.LayerNorm(channels)

    def forward(self, update: Tensor, prototype: Tensor) -> Tensor:
        """Attention output and the prototype it was asked with, both [..., C] -> [..., C]."""
        normalised: Tensor = self.second_norm(self.feed_forward(self.first_norm(update + prototype)))
        return normalised
