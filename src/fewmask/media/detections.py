"""Tracks of one frame as `supervision.Detections`, with the track id as tracker_id."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewmask.errors import FewmaskError
from fewmask.media import rle
from fewmask.media.rle import Rle

if TYPE_CHECKING:
    import supervision


def detections(
    size: tuple[int, int],
    track_ids: Sequence[int],
    category_ids: Sequence[int],
    scores: Sequence[float],
    masks: Sequence[Rle | None],
    categories: Mapping[int, str],
) -> "supervision.Detections":
    """The tracks with a mask: xyxy (pixel edges), mask, confidence, class_id, tracker_id, class_name.

    Raises:
        FewmaskError: supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise FewmaskError("supervision is not installed; pip install supervision") from error
    rows = [row for row, mask in enumerate(masks) if mask is not None]
    present = [mask for mask in masks if mask is not None]
    boxes = np.array([rle.bbox(mask) for mask in present], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    names = [categories.get(category_ids[row], str(category_ids[row])) for row in rows]
    return supervision.Detections(
        xyxy=boxes,
        mask=rle.decode_many(present).reshape(-1, *size),
        confidence=np.array([scores[row] for row in rows], dtype=np.float32),
        class_id=np.array([category_ids[row] for row in rows], dtype=int),
        tracker_id=np.array([track_ids[row] for row in rows], dtype=int),
        data={"class_name": np.array(names, dtype=str)},
    )
