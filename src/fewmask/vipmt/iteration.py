"""One VIPMT iteration (Figure 2, eq 2 and 8-14): support, memory, clip and frame prototypes refine one another."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewmask.vipmt.attention import FeedForward, MaskedAttention, PostNorm
from fewmask.vipmt.config import VIPMTConfig
from fewmask.vipmt.exemplars import Exemplars
from fewmask.vipmt.initial_scales import PROTOTYPE_DEVIATION
from fewmask.vipmt.query_activation import QueryActivation


class MaskEmbedding(nn.Module):
    """The "MLP" of eq 9, 10 and 14, shared by all iterations; it absorbs the f_G of eq 6."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mlp = FeedForward(channels, channels, dropout)

    def forward(self, prototype: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        embedded: Tensor = self.mlp(self.norm(prototype))
        return embedded


def mask_generation(prototypes: Tensor, tokens: Tensor) -> Tensor:
    """MG of eq 6 before its sigmoid: prototypes [C] or [N, C], tokens [N, C, h, w] -> logits [N, h, w]."""
    return (tokens * prototypes[..., :, None, None]).sum(-3)


def hard_mask(logits: Tensor) -> Tensor:
    """sigmoid(logits) >= 0.5, bool and without gradient."""
    return logits.detach() >= 0


@dataclass(frozen=True)
class ClipState:
    """What one iteration hands to the next, for a clip of T frames."""

    prototype: Tensor
    """G_l, [C]."""
    tokens: Tensor
    """F^c_l, [T, C, h, w]."""
    masks: Tensor
    """Hard frame masks, bool [T, h, w]."""


@dataclass(frozen=True)
class IterationMaps:
    """What the auxiliary and CCDS losses look at."""

    clip_prototype: Tensor
    """G^ci_l, [C]."""
    clip_logits: Tensor
    """Masks of the clip prototype, [T, h, w]."""
    frame_logits: Tensor
    """Masks of the frame prototypes, [T, h, w] (the clip's again when frame prototypes are off)."""
    exemplar_logits: Tensor
    """Masks of the clip prototype on supports, then memory, [S + M, h, w]."""


class Iteration(nn.Module):
    """Weights of one iteration. Iterations share only the two mask embeddings, which are passed in."""

    def __init__(self, config: VIPMTConfig) -> None:
        super().__init__()
        channels, hidden, dropout = config.channels, config.feed_forward, config.attention_dropout
        self.bidirectional, self.softmax_apart = config.bidirectional, config.exemplar_softmax == "apart"
        self.exemplar_attention = MaskedAttention(channels, dropout)  # shared by support and memory (section 5.1)
        self.exemplar_post = PostNorm(channels, hidden, dropout)
        self.clip_attention = MaskedAttention(channels, dropout)
        self.clip_post = PostNorm(channels, hidden, dropout)
        self.frame_attention: MaskedAttention | None = None
        self.frame_post: PostNorm | None = None
        if config.frame_prototypes:
            self.frame_attention = MaskedAttention(channels, dropout)
            self.frame_post = PostNorm(channels, hidden, dropout)
        self.query_activation = QueryActivation(channels, hidden, config.heads, dropout)

    def forward(
        self,
        state: ClipState,
        exemplars: Exemplars,
        supports: int,
        position: Tensor,
        embeddings: tuple[MaskEmbedding, MaskEmbedding],
    ) -> tuple[ClipState, IterationMaps]:
        """Refine ``state``; the first ``supports`` exemplars are supports, the others memory.

        ``embeddings`` are those of the clip and of the frame prototypes.
        """
        clip_embedding, frame_embedding = embeddings
        previous = state.prototype
        support, memory = self._exemplar_prototypes(previous, exemplars, supports)
        clip_tokens = state.tokens.flatten(2).transpose(1, 2)  # [T, h w, C]
        clip = self.clip_post(
            self.clip_attention(previous, clip_tokens.flatten(0, 1), state.masks.flatten()), previous
        )  # eq 8
        clip_prototype = clip_embedding(support + clip + memory + previous)  # eq 9; eq 14 with memory
        clip_logits = mask_generation(clip_prototype, state.tokens)
        exemplar_logits = mask_generation(clip_prototype, exemplars.tokens)

        if self.frame_attention is None or self.frame_post is None:
            frame_prototypes = clip_prototype.expand(len(state.tokens), -1)
            frame_logits = clip_logits
        else:
            frame_prototypes = clip_prototype.expand(len(state.tokens), -1)
            update = self.frame_attention(frame_prototypes, clip_tokens, hard_mask(clip_logits).flatten(1))
            frame_prototypes = frame_embedding(
                self.frame_post(update, frame_prototypes) + frame_prototypes
            )  # eq 10, [T, C]
            frame_logits = mask_generation(frame_prototypes, state.tokens)  # eq 12, first line
        tokens = self.query_activation(frame_prototypes, state.tokens, position)  # eq 12, second line
        prototype = frame_prototypes.mean(0) if self.bidirectional else clip_prototype  # eq 11
        return (
            ClipState(prototype, tokens, hard_mask(frame_logits)),
            IterationMaps(clip_prototype, clip_logits, frame_logits, exemplar_logits),
        )

    def _exemplar_prototypes(
        self, previous: Tensor, exemplars: Exemplars, supports: int
    ) -> tuple[Tensor, Tensor | float]:
        """G^s (eq 2) and G^m (eq 13).

        Deviation from the equations, as released, unless the softmaxes are ``apart``: with memory one softmax runs
        over support and memory tokens together and the two parts are summed apart.
        """
        flat = exemplars.tokens.flatten(2).transpose(1, 2).flatten(0, 1)  # [(S + M) h w, C]
        inside = exemplars.masks.flatten()
        cut = supports * exemplars.masks[0].numel()
        if self.softmax_apart and len(exemplars) > supports:
            support = self.exemplar_attention(previous, flat[:cut], inside[:cut])
            memory = self.exemplar_attention(previous, flat[cut:], inside[cut:])
            return self.exemplar_post(support, previous), self.exemplar_post(memory, previous)
        weights = self.exemplar_attention.weights(previous, flat, inside)
        support = self.exemplar_post(self.exemplar_attention.gather(weights[:cut], flat[:cut]), previous)
        if len(exemplars) == supports:
            return support, 0.0
        memory = self.exemplar_post(self.exemplar_attention.gather(weights[cut:], flat[cut:]), previous)
        return support, memory


class PrototypeTransformer(nn.Module):
    """All iterations, from the learned G_0 on."""

    def __init__(self, config: VIPMTConfig) -> None:
        super().__init__()
        self.prototype = nn.Parameter(PROTOTYPE_DEVIATION * torch.randn(config.channels))
        self.level_embedding = nn.Parameter(torch.randn(config.channels))
        self.clip_embedding = MaskEmbedding(config.channels, config.attention_dropout)
        self.frame_embedding = MaskEmbedding(config.channels, config.attention_dropout)
        self.iterations = nn.ModuleList(Iteration(config) for _ in range(config.iterations))

    def forward(
        self, tokens: Tensor, masks: Tensor, exemplars: Exemplars, supports: int, position: Tensor
    ) -> tuple[Tensor, list[IterationMaps]]:
        """Query tokens F_0 [T, C, h, w] and masks O_0 bool [T, h, w] -> F_L and the maps of every iteration."""
        state = ClipState(self.prototype, tokens, masks)
        position = position + self.level_embedding[:, None, None]
        embeddings = (self.clip_embedding, self.frame_embedding)
        maps = []
        for iteration in self.iterations:
            state, out = iteration(state, exemplars, supports, position, embeddings)
            maps.append(out)
        return state.tokens, maps
