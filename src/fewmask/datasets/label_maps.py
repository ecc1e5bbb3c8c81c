"""PNG label maps: one whole number per pixel (an object, a class, or 0/255 for a single mask)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

LabelMap = npt.NDArray[np.integer]
VOID = 255
"""In an 8-bit map that holds other labels too: a pixel nobody decided about."""


def write_label_map(path: Path, labels: LabelMap, *, wide: bool = False) -> None:
    """Write labels [H, W] as a PNG into a folder that is still being made (see whole_folder.py).

    Labels up to 255 become a palette PNG in the usual colours (as DAVIS uses), a map of only 0 and 255 a grey one,
    and larger labels, up to 65,535, a 16-bit one.

    Raises:
        ValueError: a label is negative or above 65,535.
    """
    highest = int(labels.max(initial=0))
    if labels.min(initial=0) < 0 or highest > 65535:
        raise ValueError("a PNG label must be in [0, 65535]")
    if wide or highest > 255:
        image = Image.fromarray(labels.astype(np.uint16))
    else:
        image = Image.fromarray(labels.astype(np.uint8))
        if not np.isin(labels, (0, 255)).all() or highest == 0:
            image.putpalette(palette().tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")


def palette() -> npt.NDArray[np.uint8]:
    """uint8 [256, 3]: bit 3j + c of the label becomes bit 7 - j of colour channel c, as PASCAL VOC and DAVIS do."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for channel in range(3):
        for bit in range(3):
            colours[:, channel] |= (((labels >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours
