"""Supports of a kind, written as a folder that `fewmask segment --support` takes.

`kind/` holds pictures of the class, each with a mask of the same name; `not/` pictures of what must not be found.
Tracks give one picture each, so that supports differ, and the user's own examples come first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fewmask.media import rle
from fewmask.media.atomic import whole_file
from fewmask.media.frame_source import RgbImage
from fewmask.media.rle import Rle

NEGATIVE_FOLDER = "not"


@dataclass(frozen=True, eq=False)
class Example:
    """One masked picture: uint8 [H, W, 3], its mask, and where it came from."""

    rgb: RgbImage
    mask: Rle
    origin: str


def write_supports(folder: Path, name: str, shown: Sequence[Example], not_shown: Sequence[Example] = ()) -> Path:
    """Write ``folder/<name>/`` and ``folder/not/``; returns ``folder``.

    Pictures are PNG: a support that is compressed again is another support.
    """
    for inside, examples in ((folder_of_class(name), shown), (NEGATIVE_FOLDER, not_shown)):
        place = folder / inside
        for number, example in enumerate(examples):
            (place / "masks").mkdir(parents=True, exist_ok=True)
            _write(place / f"{number:03d}.png", np.asarray(example.rgb))
            _write(place / "masks" / f"{number:03d}.png", rle.decode(example.mask).astype(np.uint8) * 255)
    return folder


def _write(path: Path, pixels: np.ndarray) -> None:
    with whole_file(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def folder_of_class(name: str) -> str:
    """A class name as a folder's; never `not`, which means the opposite."""
    kept = "".join(letter if letter.isalnum() or letter in " -_" else "_" for letter in name).strip() or "object"
    return f"{kept}_" if kept.casefold() == NEGATIVE_FOLDER else kept
