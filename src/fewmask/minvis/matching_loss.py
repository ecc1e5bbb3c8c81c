"""The paper's "supervised matching" (appendix): queries of one object in two frames are pulled together by a hinge.

MinVIS itself does without; this is the variant that needs videos with identities.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

MARGIN = 0.1  # of cosines; the paper gives none


def matching_loss(first: Tensor, second: Tensor, pairs: Sequence[tuple[int, int]], *, margin: float = MARGIN) -> Tensor:
    """How far the right associations are from having the highest inner products, a scalar >= 0.

    Inner products of unit vectors, because tracking compares cosines. For an object at query a of one frame and b of
    the other: max(0, margin + max over j != b of s[a, j] - s[a, b]), the same from b's side, mean over both and over
    the objects. Zero without objects.

    Args:
        first: embeddings [Q, C] of one frame.
        second: embeddings [Q, C] of another frame of the video.
        pairs: (query of ``first``, query of ``second``) of each object that both show.
        margin: by how much the right association must lead; raising it spreads queries further apart.
    """
    similarity = functional.normalize(first.float(), dim=-1) @ functional.normalize(second.float(), dim=-1).T
    if not pairs:
        return similarity.sum() * 0.0
    rows = torch.tensor([row for row, _ in pairs], device=similarity.device)
    columns = torch.tensor([column for _, column in pairs], device=similarity.device)
    right = similarity[rows, columns]  # [n]
    wrong_columns = similarity[rows].scatter(1, columns[:, None], -torch.inf).amax(1)
    wrong_rows = similarity[:, columns].scatter(0, rows[None], -torch.inf).amax(0)
    return (functional.relu(margin + wrong_columns - right) + functional.relu(margin + wrong_rows - right)).mean() / 2


def shared_objects(
    identities: tuple[Sequence[int], Sequence[int]], matches: Sequence[tuple[Tensor, Tensor]]
) -> list[tuple[int, int]]:
    """The queries of each object that two frames show.

    Args:
        identities: of each frame's instances, in the order of its targets.
        matches: of each frame, the matched (query indices, target indices).
    """
    query_of = [
        {identity[target]: query for query, target in zip(queries.tolist(), targets.tolist(), strict=True)}
        for identity, (queries, targets) in zip(identities, matches, strict=True)
    ]
    return [(query, query_of[1][identity]) for identity, query in query_of[0].items() if identity in query_of[1]]
