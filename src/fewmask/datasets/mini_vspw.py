"""MiniVSPW: the four few-shot folds on VSPW (480p), restated from the rule its authors' lists follow.

Twenty VSPW classes, five novel ones a fold. Training lists come from VSPW train, validation and test lists from
VSPW val; a frame is listed for a class if the class covers more than 100 pixels of it. Two irregularities are part
of the published
split: fold 1 trains on billboard_or_Bulletin_Board instead of truck, fold 2 on tent instead of book. Folds are numbered
from 1 as in the papers (the released list files count from 0).
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from fewmask.errors import ConfigError

Part = Literal["train", "val", "test"]

NAMES: Mapping[int, str] = {
    41: "billboard_or_Bulletin_Board",
    45: "parasol_or_umbrella",
    46: "cushion_or_carpet",
    47: "tent",
    49: "car",
    50: "bus",
    51: "truck",
    52: "bicycle",
    53: "motorcycle",
    55: "ship_or_boat",
    57: "airplane",
    61: "person",
    62: "cat",
    63: "dog",
    64: "horse",
    65: "cattle",
    85: "bottle_or_cup",
    90: "table_or_desk",
    91: "chair_or_seat",
    93: "sofa",
    109: "flower_pot_or_vase",
    111: "book",
    113: "blackboard",
    115: "screen_or_television",
    124: "train",
}
TEST_CLASSES: Mapping[int, tuple[int, ...]] = {
    1: (57, 52, 55, 85, 111),
    2: (50, 49, 62, 91, 51),
    3: (63, 64, 53, 61, 90),
    4: (109, 93, 124, 115, 65),
}
_VAL_CLASSES: Mapping[int, tuple[int, ...]] = {
    1: (113, 47, 51, 45, 46),
    2: (41, 113, 111, 45, 46),
    3: (113, 41, 45, 46, 47),
    4: (113, 41, 45, 46, 47),
}
_TRAIN_INSTEAD: Mapping[int, Mapping[int, int]] = {1: {51: 41}, 2: {111: 47}}
MORE_THAN_PIXELS = 100


def classes(fold: int, part: Part) -> tuple[int, ...]:
    """VSPW ids of the classes of one part of ``fold`` (1 to 4): 15 to train on, 5 to validate on, 5 to test on.

    Raises:
        ConfigError: no such fold or part.
    """
    if fold not in TEST_CLASSES or part not in ("train", "val", "test"):
        raise ConfigError(f"MiniVSPW has folds 1 to 4 with train, val and test; there is no {part!r} of fold {fold}")
    if part == "test":
        return TEST_CLASSES[fold]
    if part == "val":
        return _VAL_CLASSES[fold]
    others = [category for other, five in TEST_CLASSES.items() if other != fold for category in five]
    instead = _TRAIN_INSTEAD.get(fold, {})
    return tuple(instead.get(category, category) for category in others)


def list_frames(
    labels: Iterable[tuple[str, int, npt.NDArray[np.integer]]], listed: Iterable[int]
) -> dict[int, dict[str, list[int]]]:
    """Which frames show which class: class id -> video name -> frame indices, the presence that `episodes` takes.

    Args:
        labels: (video name, frame index, label map [H, W]) of every frame, frames of a video in order.
        listed: the class ids to list.
    """
    wanted = sorted(set(listed))
    presence: dict[int, dict[str, list[int]]] = {category: {} for category in wanted}
    for video, frame, label_map in labels:
        found, pixels = np.unique(label_map, return_counts=True)
        for category in np.intersect1d(found[pixels > MORE_THAN_PIXELS], wanted).tolist():
            presence[category].setdefault(video, []).append(frame)
    return presence
