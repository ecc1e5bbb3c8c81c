"""From places to queries: the best places whose masks are not one another's doubles, Q per frame."""

import torch
from torch import Tensor

from fewmask.minvis.dense.network import DensePrediction

CANDIDATES = 120  # places whose masks are made
DOUBLE = 0.6  # a place whose mask has this IoU with a better place's is its double
NOTHING = -10.0  # mask logit of a query that is not there


def winning_places(scores: Tensor, masks: Tensor, most: int, *, double: float = DOUBLE) -> Tensor:
    """Indices, best first, of at most ``most`` candidates none of which doubles a better one.

    Args:
        scores: [M], falling.
        masks: bool [M, h, w].
    """
    flat = masks.flatten(1).float()
    area = flat.sum(1)
    both = flat @ flat.T
    iou = both / (area[:, None] + area[None] - both).clamp(min=1)
    doubles = (iou > double).tolist()
    empty = (area == 0).tolist()
    kept: list[int] = []
    for place in range(len(scores)):
        if not empty[place] and not any(doubles[place][better] for better in kept):
            kept.append(place)
            if len(kept) == most:
                break
    return torch.tensor(kept, dtype=torch.long, device=scores.device)


def queries_of(found: DensePrediction, image: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The queries of one image, best first; those that are missing to ``count`` are null.

    Returns:
        Objectness [count] in [0, 1], class logits [count, K], mask logits [count, h, w], identities [count, E] of
        length 1 (0 for null queries).
    """
    objectness = found.objectness[image].float().sigmoid()
    scores, places = objectness.topk(min(CANDIDATES, len(objectness)))
    pixels = found.pixels[image].float()
    kernels = found.kernels[image, places].float()
    # Which places win is told on every other pixel; masks are made of the winners alone.
    kept = winning_places(scores, _masks(kernels, pixels[:, ::2, ::2]) > 0, count)
    masks, own = _masks(kernels[kept], pixels), places[kept]
    missing = count - len(kept)
    identities = torch.nn.functional.normalize(found.identities[image, own].float(), dim=1)
    return (
        torch.cat((scores[kept], scores.new_zeros(missing))),
        torch.cat((found.classes[image, own].float(), found.classes.new_zeros(missing, found.classes.shape[-1]))),
        torch.cat((masks, masks.new_full((missing, *masks.shape[1:]), NOTHING))),
        torch.cat((identities, identities.new_zeros(missing, identities.shape[1]))),
    )


def _masks(kernels: Tensor, pixels: Tensor) -> Tensor:
    """Mask logits [n, h, w] of kernels [n, D] over pixels [D, h, w]."""
    return (kernels @ pixels.flatten(1)).view(-1, *pixels.shape[1:])
