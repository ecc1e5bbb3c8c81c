"""The paper's figure of query embeddings over time: those of one object lie together, those of others apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fewmask.errors import ConfigError
from fewmask.minvis.frame_instances import resize_logits
from fewmask.minvis.segmenter import SegmenterOutput

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ObjectQuery:
    """The query that found an object in a frame: its embedding float64 [C] and its slot in the network."""

    object: int
    frame: int
    slot: int
    embedding: Floats


def object_queries(
    output: SegmenterOutput,
    truths: Sequence[dict[int, npt.NDArray[np.bool_]]],
    first: int = 0,
    *,
    least_iou: float = 0.5,
) -> list[ObjectQuery]:
    """For each object of each frame the query whose mask fits it best, if it fits at all.

    Args:
        output: of T frames.
        truths: masks [H, W] by object, of each of them; absent objects have no entry.
        first: number of the first frame.
        least_iou: below, the object counts as not found.
    """
    found = []
    for t, objects in enumerate(truths):
        if not objects:
            continue
        size = next(iter(objects.values())).shape
        logits = resize_logits(output.masks_queries_logits[t], output.padded_size, output.image_size, size)
        masks = (logits > 0).flatten(1).double()
        for number, truth in objects.items():
            true = torch.from_numpy(truth).to(masks.device).flatten().double()
            shared = masks @ true
            overlap = shared / (masks.sum(1) + true.sum() - shared).clamp(min=1)
            slot = int(overlap.argmax())
            if float(overlap[slot]) >= least_iou:
                vector = output.query_embeddings[t, slot].double().cpu().numpy()
                found.append(ObjectQuery(number, first + t, slot, vector))
    return found


def projection(vectors: Floats) -> Floats:
    """Unit vectors of rows [N, C] along their two main directions, [N, 2]; of each the largest entry is positive."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    _, _, axes = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(1)])[:, None]
    flat = (unit - unit.mean(0)) @ axes.T
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))


def nearest_is_the_same(queries: Sequence[ObjectQuery]) -> tuple[int, int]:
    """How often the most alike query of the frame before is of the same object, and of how many it could be.

    Only queries whose object was found in the frame before, beside at least one other, are counted.
    """
    right = counted = 0
    for query in queries:
        before = [other for other in queries if other.frame == query.frame - 1]
        if len(before) < 2 or query.object not in {other.object for other in before}:
            continue
        norms = [np.linalg.norm(query.embedding) * np.linalg.norm(other.embedding) for other in before]
        cosines = [query.embedding @ other.embedding / norm for other, norm in zip(before, norms, strict=True)]
        right += before[int(np.argmax(cosines))].object == query.object
        counted += 1
    return right, counted


def draw(queries: Sequence[ObjectQuery], path: Path, title: str = "") -> None:
    """Two pictures side by side: a colour for each object, and the first main direction over time.

    Raises:
        ConfigError: fewer than two queries.
    """
    if len(queries) < 2:
        raise ConfigError(f"{title or path}: the network found {len(queries)} objects; there is nothing to draw")
    from matplotlib.figure import Figure

    flat = projection(np.stack([query.embedding for query in queries]))
    figure = Figure(figsize=(9, 4), layout="constrained")
    plane, time = figure.subplots(1, 2)
    for number in sorted({query.object for query in queries}):
        rows = [row for row, query in enumerate(queries) if query.object == number]
        rows.sort(key=lambda row: queries[row].frame)
        (line,) = plane.plot(flat[rows, 0], flat[rows, 1], "-o", markersize=4, linewidth=0.6, label=f"object {number}")
        time.plot([queries[row].frame for row in rows], flat[rows, 0], "-o", markersize=3, color=line.get_color())
    plane.set(xlabel="first direction", ylabel="second direction", title=title)
    time.set(xlabel="frame", ylabel="first direction")
    plane.legend(fontsize="small")
    figure.savefig(path, dpi=120)
