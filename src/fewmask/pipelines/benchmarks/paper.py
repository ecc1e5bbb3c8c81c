"""The papers' own figures, in per cent, as they stand beside ours."""

from collections.abc import Mapping

TRACK_FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10")
Figures = Mapping[str, float]


def _tracks(*values: float) -> Figures:
    return dict(zip(TRACK_FIGURES, values, strict=True))


MINVIS: Mapping[str, Mapping[str, Figures]] = {
    "minvis-ytvis19": {
        "1 %": _tracks(59.0, 81.6, 64.7, 54.0, 64.0), "5 %": _tracks(59.3, 81.4, 65.8, 53.8, 64.1),
        "10 %": _tracks(61.0, 83.0, 67.7, 54.6, 66.1), "100 %": _tracks(61.6, 83.3, 68.6, 54.8, 66.6),
        "heuristics": _tracks(58.2, 79.2, 64.1, 51.3, 63.6), "both": _tracks(61.3, 82.8, 68.7, 54.3, 66.3),
        "query": _tracks(61.6, 83.3, 68.6, 54.8, 66.6), "supervised matching": _tracks(61.0, 82.1, 67.6, 54.3, 66.1),
        "limited range": _tracks(60.7, 82.5, 67.0, 54.1, 65.5), "clip": {"AP": 60.4, "AP50": 84.4, "AP75": 67.0},
    },
    "minvis-ytvis21": {
        "1 %": _tracks(52.9, 74.9, 58.9, 44.7, 58.3), "5 %": _tracks(54.3, 76.3, 60.1, 45.4, 59.5),
        "10 %": _tracks(54.9, 76.3, 61.9, 45.3, 60.1), "100 %": _tracks(55.3, 76.6, 62.0, 45.9, 60.8),
        "heuristics": _tracks(52.7, 75.3, 57.3, 44.4, 58.3), "both": _tracks(55.1, 76.2, 61.9, 46.0, 60.7),
        "query": _tracks(55.3, 76.6, 62.0, 45.9, 60.8), "supervised matching": _tracks(54.4, 75.7, 60.6, 45.5, 59.5),
        "limited range": _tracks(55.2, 77.0, 61.5, 45.4, 60.1), "clip": {"AP": 52.6, "AP50": 76.4, "AP75": 57.2},
    },
    "minvis-ovis": {
        "1 %": _tracks(31.7, 54.9, 31.3, 16.3, 36.1), "5 %": _tracks(35.7, 60.1, 35.8, 17.3, 39.9),
        "10 %": _tracks(37.2, 60.7, 38.0, 17.3, 41.1), "100 %": _tracks(39.4, 61.5, 41.3, 18.1, 43.3),
        "heuristics": _tracks(31.7, 56.0, 31.3, 15.8, 35.8), "both": _tracks(39.1, 62.5, 40.8, 17.7, 43.4),
        "query": _tracks(39.4, 61.5, 41.3, 18.1, 43.3), "supervised matching": _tracks(38.7, 61.2, 39.6, 17.9, 42.4),
        "limited range": _tracks(39.6, 63.2, 41.0, 18.2, 43.0), "clip": _tracks(25.8, 46.5, 24.4, 13.7, 32.2),
    },
}  # fmt: skip
"""Swin-L, the mean of three seeds; clip is Mask2Former-VIS, trained on clips.

Its ResNet-50 on all frames has 47.4, 44.2 and 25.0 AP.
"""

FSVOS: Mapping[str, Figures] = {
    "fold 1": {"J": 50.6, "F": 51.3}, "fold 2": {"J": 70.9, "F": 66.9}, "fold 3": {"J": 68.8, "F": 65.2},
    "fold 4": {"J": 66.5, "F": 64.4}, "mean": {"J": 64.2, "F": 62.0, "VC7": 65.7},
}  # fmt: skip
"""VIPMT, protocol II, five supports, five runs."""
FSVOS_TTI: Mapping[str, Figures] = {
    "fold 1": {"J": 47.2}, "fold 2": {"J": 68.8}, "fold 3": {"J": 61.4}, "fold 4": {"J": 63.5},
    "mean": {"J": 60.2, "VC7": 60.8},
}  # fmt: skip
"""TTI's own method; its J is the intersection over union of all pixels of a class."""
_J_F_VC = ("J", "F", "VC7")
FSVOS_ABLATIONS: Mapping[str, Mapping[str, Figures]] = {
    table: {row: dict(zip(_J_F_VC, values, strict=True)) for row, values in rows.items()}
    for table, rows in {
        "components": {
            "Baseline": (57.8, 53.9, 57.8), "+C": (61.8, 58.8, 60.7), "+C+F": (62.5, 60.3, 62.1),
            "+C+F+M": (63.5, 61.9, 62.8), "+C+F+M+CCDS": (64.2, 62.0, 65.7),
        },
        "directions": {"clip to frame": (61.4, 59.1, 60.1), "bidirectional": (62.5, 60.3, 62.1)},
        "iou-training": {
            "real, without maps": (62.8, 61.5, 62.6), "real, with maps": (63.2, 61.6, 62.8),
            "noisy video masks, without maps": (62.9, 61.6, 62.6), "noisy video masks, with maps": (63.2, 61.6, 62.8),
        },
        "threshold": {
            "0.5, without maps": (63.0, 61.7, 62.7), "0.5, with maps": (63.3, 61.7, 63.0),
            "0.6, without maps": (63.1, 61.7, 62.9), "0.6, with maps": (63.3, 61.7, 62.7),
            "0.7, without maps": (63.1, 61.8, 62.9), "0.7, with maps": (63.4, 61.8, 62.6),
            "0.8, without maps": (63.1, 61.8, 62.5), "0.8, with maps": (63.5, 61.9, 62.8),
            "0.9, without maps": (63.0, 61.8, 62.3), "0.9, with maps": (63.5, 61.9, 62.5),
        },
    }.items()
}  # fmt: skip
"""VIPMT's Tables 4 to 7, means over folds. Its IoUNet of Table 7 learnt from noisy masks of pictures."""
MINI_VSPW: Mapping[str, Figures] = {
    "fold 1": {"J": 26.2, "F": 30.6}, "fold 2": {"J": 42.2, "F": 45.7}, "fold 3": {"J": 31.6, "F": 36.3},
    "fold 4": {"J": 29.4, "F": 34.2}, "mean": {"J": 32.4, "F": 36.7, "VC7": 42.1},
}  # fmt: skip

SHOTS = (1, 5, 6, 8, 10)
SELF_VIS: Mapping[str, Mapping[int, float]] = {
    "random": dict(zip(SHOTS, (44.3, 44.9, 44.8, 45.1, 45.1), strict=True)),
    "oracle": dict(zip(SHOTS, (53.2, 56.6, 56.1, 57.6, 57.8), strict=True)),
    "retrieved": dict(zip(SHOTS, (51.4, 54.3, 54.6, 55.2, 55.4), strict=True)),
}
SELF_OVIS: Mapping[str, Mapping[int, float]] = {"oracle": {1: 22.0, 5: 24.9}, "retrieved": {1: 20.6, 5: 23.7}}
BY_INSTANCES: Mapping[str, Mapping[int, float]] = {
    "1": {1: 52.1, 5: 54.8}, "2": {1: 51.7, 5: 54.6}, "3": {1: 49.5, 5: 52.9}, "4": {1: 44.7, 5: 50.2},
    "5 or more": {1: 41.6, 5: 45.5},
}  # fmt: skip
BY_CLASSES: Mapping[str, Mapping[int, float]] = {
    "1": {1: 23.4, 5: 26.2}, "2": {1: 20.7, 5: 23.3}, "3": {1: 17.1, 5: 19.4}, "4 or more": {1: 8.6, 5: 9.4},
}  # fmt: skip
"""Tables 4a (Self-VIS) and 4b (Self-OVIS), with retrieved supports."""
OWN_SEGMENTS: Mapping[str, Mapping[str, float]] = {
    "temporal": {"1-shot": 44.0, "5-shot": 46.6}, "spatial": {"1-shot": 44.9, "5-shot": 47.8},
    "retrieved": {"1-shot": 51.4, "5-shot": 54.3},
}  # fmt: skip
"""Table 13."""
TRANSPLANTED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    name: {row: dict(zip(("1-shot", "5-shot"), values, strict=True)) for row, values in rows.items()}
    for name, rows in {
        "self-vis": {"SMRCNN": (43.2, 44.7), "FST": (48.5, 51.7), "this paper": (53.2, 56.6)},
        "self-ovis": {"SMRCNN": (16.8, 17.7), "FST": (20.5, 22.3), "this paper": (22.0, 24.9)},
    }.items()
}
"""Table 11."""

PICTURE_FIGURES = ("AP", "AP50", "AP75", "AR1", "AR3", "AR5")
UNSEEN: Mapping[str, Figures] = {
    name: dict(zip(PICTURE_FIGURES, values, strict=True))
    for name, values in {
        "before": (35.8, 61.2, 38.1, 33.3, 47.3, 50.3),
        "fine-tuned on mined masks": (39.0, 67.9, 41.3, 35.2, 48.9, 51.4),
        "fine-tuned on true masks": (50.8, 80.9, 54.6, 43.6, 58.6, 60.6),
    }.items()
}
DAVIS_FIGURES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
DAVIS_2017: Mapping[str, Figures] = {
    name: dict(zip(DAVIS_FIGURES, values, strict=True))
    for name, values in {
        "UnOVOST": (56.2, 54.4, 63.7, -1.0, 57.9, 65.0, 0.0),
        "UnOVOST+": (59.9, 59.1, 70.0, -6.0, 60.8, 70.8, -3.0),
    }.items()
}
