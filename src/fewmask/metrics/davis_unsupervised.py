"""DAVIS unsupervised: object proposals without ids, assigned once per video so that J + F is largest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from fewmask.errors import DatasetError
from fewmask.metrics.bit_rows import Words, count, dilate, outline, pack
from fewmask.metrics.contour import tolerance_pixels
from fewmask.metrics.mask_arrays import BoolMask, bounding_window
from fewmask.metrics.mean_recall_decay import FrameStatistics, frame_statistics

Floats = npt.NDArray[np.float64]

MAX_PROPOSALS = 20


@dataclass(frozen=True, slots=True)
class ProposalFrame:
    """One frame: the masks by id; what is absent has no entry."""

    proposals: dict[int, BoolMask]
    objects: dict[int, BoolMask]
    void: BoolMask | None = None
    """Pixels that do not count."""


@dataclass(frozen=True, slots=True)
class AssignedObject:
    """One row of the result: a proposal and the object it was assigned to."""

    proposal: int | None
    """None for the empty proposals that fill up when there are fewer proposals than objects."""
    object: int
    J: FrameStatistics
    F: FrameStatistics
    J_per_frame: Floats = field(repr=False)
    F_per_frame: Floats = field(repr=False)


def assign_proposals(frames: Iterable[ProposalFrame], *, official_quirks: bool = False) -> list[AssignedObject]:
    """The objects of one video with the proposals that fit best: Hungarian assignment on mean J + mean F, all frames.

    Args:
        frames: read once, in order, one at a time.
        official_quirks: as `frame_statistics`.

    Raises:
        DatasetError: more than 20 proposals, or no frame.
    """
    seen = [_compare(frame) for frame in frames]
    proposals = sorted({p for frame in seen for p in frame.proposals})
    objects = sorted({o for frame in seen for o in frame.objects})
    if len(proposals) > MAX_PROPOSALS:
        raise DatasetError(
            f"{len(proposals)} proposals; DAVIS allows {MAX_PROPOSALS} in a video, keep those with the highest scores"
        )
    if not seen:
        raise DatasetError("a video without frames cannot be evaluated")
    rows: list[int | None] = [*proposals, *[None] * max(0, len(objects) - len(proposals))]
    J = np.zeros((len(rows), len(objects), len(seen)))
    F = np.zeros_like(J)
    for t, frame in enumerate(seen):
        at_row = [frame.proposals.get(p, -1) if p is not None else -1 for p in rows]
        at_column = [frame.objects.get(o, -1) for o in objects]
        J[:, :, t] = frame.J[np.ix_(at_row, at_column)]
        F[:, :, t] = frame.F[np.ix_(at_row, at_column)]
    assigned = linear_sum_assignment(J.mean(2) + F.mean(2), maximize=True)
    found = []
    for r, c in zip(*(indices.tolist() for indices in assigned), strict=True):
        J_statistics, F_statistics = (frame_statistics(v[r, c], official_quirks=official_quirks) for v in (J, F))
        found.append(AssignedObject(rows[r], objects[c], J_statistics, F_statistics, J[r, c], F[r, c]))
    return found


@dataclass(frozen=True, slots=True)
class _Compared:
    """J and F of every proposal with every object of a frame; the last row and column stand for an empty mask."""

    proposals: dict[int, int]
    objects: dict[int, int]
    J: Floats
    F: Floats


def _compare(frame: ProposalFrame) -> _Compared:
    J, F = regions_and_contours(list(frame.proposals.values()), list(frame.objects.values()), frame.void)
    return _Compared(
        {p: index for index, p in enumerate(frame.proposals)}, {o: index for index, o in enumerate(frame.objects)}, J, F
    )


def regions_and_contours(
    rows: Sequence[BoolMask], columns: Sequence[BoolMask], void: BoolMask | None = None
) -> tuple[Floats, Floats]:
    """J and F of every row with every column, each float64 [R + 1, C + 1]; the last of both is an empty mask.

    Each mask is outlined and dilated once.
    """
    J, F = (np.ones((len(rows) + 1, len(columns) + 1)) for _ in range(2))
    masks = [mask if void is None else mask & ~void for mask in (*rows, *columns)]
    if not masks:
        return J, F
    window = bounding_window(np.logical_or.reduce(masks), 1)
    if window is None:
        return J, F
    radius = tolerance_pixels(*masks[0].shape)
    packed = [_Packed.of(mask[window], radius) for mask in (*masks, np.zeros_like(masks[0]))]
    for r, row in enumerate([*packed[: len(rows)], packed[-1]]):
        for c, column in enumerate(packed[len(rows) :]):
            shared = count(row.mask & column.mask) if row.pixels and column.pixels else 0
            covered = row.pixels + column.pixels - shared
            J[r, c] = shared / covered if covered else 1.0
            F[r, c] = _f_measure(row, column)
    return J, F


@dataclass(frozen=True, slots=True)
class _Packed:
    mask: Words
    pixels: int
    edge: Words
    edge_pixels: int
    grown: Words

    @staticmethod
    def of(mask: BoolMask, radius: int) -> "_Packed":
        words = pack(mask, radius)
        edge = outline(words, mask.shape[1])
        edge_pixels = count(edge)
        return _Packed(words, count(words), edge, edge_pixels, dilate(edge, radius) if edge_pixels else edge)


def _f_measure(row: _Packed, column: _Packed) -> float:
    if not row.edge_pixels or not column.edge_pixels:
        return 1.0 if row.edge_pixels == column.edge_pixels else 0.0
    precision = count(row.edge & column.grown) / row.edge_pixels
    recall = count(column.edge & row.grown) / column.edge_pixels
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
