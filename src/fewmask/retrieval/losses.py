"""What teaches the encoder to retrieve: instance NCE, multiple-instance NCE (eq. 1), ranking loss (eq. 2, 6, 7).

All take a query Φ(v), the momentum views Φ̃(p) of its positives (other clips of the same video) and Φ̃(n) of its
negatives (clips of other videos, from the batch and the queue). Leading batch axes are allowed everywhere; the result
is the mean over them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fewmask.errors import ConfigError

PRINTED_RANK_TEMPERATURE = 2.0
"""The divisor eq. 6 prints. Cosines lie in [-1, 1], so at 2 every comparison is nearly a tie and ranks are flat."""


def rank_loss(query: Tensor, positives: Tensor, negatives: Tensor, *, temperature: float = 0.05) -> Tensor:
    """−log of the smooth average precision with which the positives rank above the negatives (eq. 2, right form).

    The printed eq. 2 ranks the query's own momentum view and does not average over positives; see
    ``printed_rank_loss``. Here each term is the precision at one positive, so the loss is ≥ 0 and 0 for a perfect rank.

    Args:
        query: Φ(v), [..., D]; cosines are taken, so lengths do not matter.
        positives: Φ̃(p), [..., P, D], P ≥ 1.
        negatives: Φ̃(n), [N, D] shared by the batch, or [..., N, D]; N may be 0.
        temperature: width of the smooth comparison in cosine units, > 0. Towards 0 the ranks become exact and gradients
            reach only near ties; 0.01 to 0.1 is useful, 2 is what the paper prints.

    Raises:
        ConfigError: no positives, shapes that do not fit, or a temperature that is not positive.
    """
    _check(query, positives, negatives, temperature)
    near, far = _cosines(query, positives, negatives)
    return rank_loss_of(near, far, temperature=temperature)


def printed_rank_loss(
    query: Tensor,
    own_key: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    temperature: float = PRINTED_RANK_TEMPERATURE,
) -> Tensor:
    """Eq. 2 as printed: the query's own momentum view Φ̃(v) is ranked, and the terms are summed, not averaged.

    An instance-level loss; it can be negative (by at most log P), and its gradient is that of the averaged form.

    Args:
        query: Φ(v), [..., D].
        own_key: Φ̃(v), [..., D].
        positives: Φ̃(p), [..., P, D], P ≥ 1.
        negatives: Φ̃(n), [N, D] or [..., N, D].
        temperature: as in ``rank_loss``.

    Raises:
        ConfigError: as ``rank_loss``.
    """
    _check(query, positives, negatives, temperature)
    own = F.cosine_similarity(query, own_key, dim=-1)
    near, far = _cosines(query, positives, negatives)
    return printed_rank_loss_of(own, near, far, temperature=temperature)


def mil_nce_loss(query: Tensor, positives: Tensor, negatives: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Multiple-instance NCE over a bag of positives (eq. 1): −log(Σ_P exp(q·p/τ) / Σ_{P∪N} exp(q·x/τ)).

    The denominator runs over the union; the printed one re-uses the positive's symbol, which would make the loss 0.

    Args:
        query: Φ(v), [..., D]. Plain dot products are taken: pass unit vectors, as the encoder returns.
        positives: Φ̃(p), [..., P, D], P ≥ 1.
        negatives: Φ̃(n), [N, D] or [..., N, D].
        temperature: divides the dot products, > 0; lower values weigh the hardest negatives more.

    Raises:
        ConfigError: no positives, shapes that do not fit, or a temperature that is not positive.
    """
    _check(query, positives, negatives, temperature)
    return mil_nce_loss_of(_dot(query, positives), _dot(query, negatives), temperature=temperature)


def instance_nce_loss(query: Tensor, key: Tensor, negatives: Tensor, *, temperature: float = 0.07) -> Tensor:
    """MoCo's instance discrimination: one positive, the other view of the same frame or clip.

    Args:
        query: Φ(v), [..., D], unit length.
        key: Φ̃ of the other view, [..., D], unit length.
        negatives: queue of other instances, [N, D].
        temperature: > 0.

    Raises:
        ConfigError: as ``mil_nce_loss``.
    """
    return mil_nce_loss(query, key[..., None, :], negatives, temperature=temperature)


def rank_loss_of(near: Tensor, far: Tensor, *, temperature: float) -> Tensor:
    """``rank_loss`` from cosines of positives [..., P] and negatives [..., N]; −inf leaves a negative out."""
    return -smooth_precision(near, far, temperature=temperature).mean(-1).log().mean()


def printed_rank_loss_of(own: Tensor, near: Tensor, far: Tensor, *, temperature: float) -> Tensor:
    """``printed_rank_loss`` from cosines: of the own key [...], positives [..., P] and negatives [..., N]."""
    among_positives = smooth_rank(own, near, temperature)
    among_all = among_positives + smooth_rank(own, far, temperature) - 1
    return -(near.shape[-1] * among_positives / among_all).log().mean()


def mil_nce_loss_of(near: Tensor, far: Tensor, *, temperature: float) -> Tensor:
    """``mil_nce_loss`` from dot products with positives [..., P] and negatives [..., N]; −inf leaves a negative out."""
    near, far = near / temperature, far / temperature
    return (torch.logsumexp(torch.cat([near, far], -1), -1) - torch.logsumexp(near, -1)).mean()


def smooth_rank(score: Tensor, others: Tensor, temperature: float) -> Tensor:
    """R(b, {c}) = 1 + Σ_c σ((score_c − score_b)/τ): about one more than how many of ``others`` lie above (eq. 6).

    Args:
        score: [...], similarity of the ranked item.
        others: [..., C], similarities of the items it is ranked against, itself not among them.
        temperature: > 0.
    """
    return 1 + torch.sigmoid((others - score[..., None]) / temperature).sum(-1)


def smooth_precision(near: Tensor, far: Tensor, *, temperature: float) -> Tensor:
    """Per positive: its rank among the positives over its rank among all items, in (0, 1].

    Args:
        near: similarities of the positives, [..., P].
        far: similarities of the negatives, [..., N].
        temperature: > 0.

    Returns:
        [..., P]
    """
    among_positives = smooth_rank(near, near[..., None, :], temperature) - 0.5  # the item against itself is no rival
    return among_positives / (among_positives + smooth_rank(near, far[..., None, :], temperature) - 1)


def _cosines(query: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    unit = F.normalize(query, dim=-1)
    return _dot(unit, F.normalize(positives, dim=-1)), _dot(unit, F.normalize(negatives, dim=-1))


def _dot(query: Tensor, items: Tensor) -> Tensor:
    """[..., D] x [..., M, D] -> [..., M]; items [M, D] are shared by all leading axes of the query."""
    if items.ndim == 2:  # one bag for the whole batch: a plain matrix product
        return query @ items.T
    return (items @ query[..., None])[..., 0]


def _check(query: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> None:
    if temperature <= 0:
        raise ConfigError(f"temperature is {temperature}; it must be above 0")
    if positives.ndim != query.ndim + 1 or positives.shape[-2] == 0:
        raise ConfigError(
            f"positives have shape {tuple(positives.shape)} for a query of shape {tuple(query.shape)}; "
            "give [..., P, D] with at least one positive"
        )
    if negatives.ndim not in (2, query.ndim + 1) or not query.shape[-1] == positives.shape[-1] == negatives.shape[-1]:
        raise ConfigError(
            f"query {tuple(query.shape)}, positives {tuple(positives.shape)} and negatives {tuple(negatives.shape)} "
            "do not share one embedding size; give [..., D], [..., P, D] and [N, D]"
        )
