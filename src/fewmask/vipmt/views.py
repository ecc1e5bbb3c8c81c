"""Augmentations by number: the same number moves and colours every picture alike, so that the frames of a clip stay
together, and a frozen backbone's features can be kept for each."""

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.datasets.draws import seed_of
from fewmask.media.image_pixels import read_rgb
from fewmask.vipmt.episodes import Shot
from fewmask.vipmt.letterbox import Letterbox

SCALE, SHEAR, ROTATE, SHIFT = 0.25, 10.0, 15.0, 0.1
"""Largest change of size, shear and rotation in degrees, and shift as a share of the side. The paper's code has 0.05
and no shift, but crops."""
GAIN, OFFSET = 0.15, 15.0
"""Largest change of contrast, common to the channels and again for each alone, and of brightness in grey levels. The
paper's code has 0.03, common only, and 5."""


def load_shot(shot: Shot, category: int, size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Picture uint8 [H, W, 3] and mask bool [H, W] of a shot, letterboxed to ``size``.

    Raises:
        VideoError: the picture cannot be read.
    """
    return shot_picture(shot, size), shot_mask(shot, category, size)


def shot_picture(shot: Shot, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The picture alone, uint8 [H, W, 3]."""
    rgb = read_rgb(shot.frame.path, size=shot.frame.size)
    placed = Letterbox.fit((rgb.shape[0], rgb.shape[1]), size).image(rgb)
    moved = np.asarray(_seen(placed, shot, cv2.INTER_LINEAR), dtype=np.uint8)
    if shot.view == 0:
        return moved
    generator = np.random.default_rng(seed_of("vipmt colour", shot.view))
    common, *each = 1 + GAIN * generator.uniform(-1, 1, 4)
    offset = OFFSET * generator.uniform(-1, 1)
    coloured = moved.astype(np.float32) * (common * np.array(each, dtype=np.float32)) + offset
    inside = moved.any(axis=2, keepdims=True)  # the bars stay black, as at test time
    return np.asarray(np.where(inside, coloured.clip(0, 255), 0), dtype=np.uint8)


def shot_mask(shot: Shot, category: int, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The mask alone, bool [H, W]; an object that the view pushes out of the picture leaves it empty."""
    mask = shot.frame.mask_of(category)
    placed = Letterbox.fit((mask.shape[0], mask.shape[1]), size).mask(mask)
    return np.asarray(_seen(placed.astype(np.uint8), shot, cv2.INTER_NEAREST) != 0)


def _seen(picture: npt.NDArray[np.uint8], shot: Shot, interpolation: int) -> npt.NDArray[np.uint8]:
    """``picture`` through the shot's view: 0 is the identity, odd numbers are mirrored, the rest is drawn."""
    if shot.view == 0:
        return picture
    height, width = picture.shape[:2]
    generator = np.random.default_rng(seed_of("vipmt affine", shot.view))
    change, shear, turn = generator.uniform(-1, 1, 3)
    shift = generator.uniform(-1, 1, 2) * SHIFT * np.array([width, height])
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn * ROTATE, 1 + change * SCALE)
    matrix[:, 1] += matrix[:, 0] * np.tan(np.radians(shear * SHEAR))
    matrix[:, 2] += shift
    moved = cv2.warpAffine(picture, matrix, (width, height), flags=interpolation)
    return np.ascontiguousarray(moved[:, ::-1]) if shot.view % 2 else moved
