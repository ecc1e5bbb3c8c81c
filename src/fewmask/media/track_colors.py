"""One colour per track id, far from those of the ids around it as the eye sees them."""

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Color = tuple[int, int, int]

_COLORS = 60  # then they come again
_NEAR = 10  # ids before, from which a colour must differ most
_FARTHER = 0.6  # how much a colour among those counts more: its distance is taken times this


def track_color(track_id: int) -> Color:
    """The RGB colour of a track id, the same always; sixty ids in a row differ, ten in a row strongly."""
    return _palette()[(track_id - 1) % _COLORS]


@cache
def _palette() -> tuple[Color, ...]:
    """Colours chosen one after another, each the farthest from all before it in CIELAB, the last ten above all."""
    steps = np.linspace(0, 1, 9, dtype=np.float32)
    rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = _lab(rgb)
    # Neither near black or white, where outlines get lost, nor grey, which looks like no colour at all.
    vivid = (lab[:, 0] > 35) & (lab[:, 0] < 88) & (np.hypot(lab[:, 1], lab[:, 2]) > 40)
    rgb, lab = rgb[vivid], lab[vivid]
    chosen = [int(np.argmin(((rgb - (1.0, 0.25, 0.25)) ** 2).sum(1)))]
    while len(chosen) < _COLORS:
        distance = np.linalg.norm(lab[:, None] - lab[chosen], axis=-1)
        distance[:, -_NEAR:] *= _FARTHER
        chosen.append(int(distance.min(1).argmax()))
    return tuple((int(red), int(green), int(blue)) for red, green, blue in np.round(rgb[chosen] * 255).tolist())


def _lab(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lab: npt.NDArray[np.float32] = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2LAB)[0]
    return lab
