"""A kilobyte or two by which copied footage is known again, whatever its file, size, compression or cut.

Not by its embedding: two clips of one street are rightly close to each other there, and how close differs between
encoders. Pictures are compared one by one: those that are kept, ten frames apart, with every frame of what may be
a copy. So a piece cut out of a video is known as well as the whole.
"""

from itertools import groupby

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.errors import VideoError
from fewmask.media.clip_place import ClipPlace
from fewmask.media.frame_source import RgbImage
from fewmask.media.frames import open_frames

Look = npt.NDArray[np.uint8]
"""One picture as grey cells, uint8 [144]."""
Looks = npt.NDArray[np.uint8]
"""Pictures of a clip in their order, uint8 [T, 144]."""
LOOK = 144
_GRID = (16, 9)
_SAME = 0.992
_SAME_CELL = 25.0
"""Two pictures are one where cells correlate by ``_SAME`` and, brightness and contrast apart, none differs by more grey
levels than this. Re-encoded at half the size and low quality a picture stays within; see README.md."""
_STEP = 10
_MOST_KEPT = 64


def look_of(rgb: RgbImage) -> Look:
    """A picture, uint8 [H, W, 3], as grey cells: uint8 [144]."""
    cells = cv2.resize(rgb, _GRID, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(cells, cv2.COLOR_RGB2GRAY), np.uint8).ravel()


def kept_looks(looks: Looks) -> Looks:
    """Every tenth picture, the first included; at most 64, evenly spread: [K, 144]."""
    few = looks[::_STEP]
    if len(few) > _MOST_KEPT:
        few = few[np.linspace(0, len(few) - 1, _MOST_KEPT).round().astype(int)]
    return np.ascontiguousarray(few)


def same_footage(looks: Looks, kept: Looks) -> bool:
    """Whether two clips share a stretch of pictures.

    The kept pictures that are found among the others must follow one another, two at least where there are two. A
    stretch from the middle of the kept ones must be as long as the other clip.

    Args:
        looks: of every frame of one, [T, 144].
        kept: of the other, as `kept_looks` keeps them, [K, 144].
    """
    found = [bool(alike.any()) for alike in _alike(kept, looks)]
    fewest = min(2, len(kept), max(1, len(looks) // _STEP))
    place = 0
    for alike, group in groupby(found):
        length = len(list(group))
        at_an_end = place == 0 or place + length == len(kept)
        if alike and length >= (fewest if at_an_end else max(fewest, 0.8 * (len(looks) / _STEP - 1))):
            return True
        place += length
    return False


def looks_of_place(place: ClipPlace) -> Looks | None:
    """What a clip looks like, read from its video, as `kept_looks` keeps it; None if that is gone or damaged."""
    seen: list[Look] = []
    try:
        with open_frames(place.video, start=place.first, skip_broken=True) as frames:
            for frame in frames:
                if frame.index <= place.last:
                    seen.append(look_of(frame.rgb))
                if frame.index >= place.last:
                    break
    except VideoError:
        return None
    return kept_looks(np.stack(seen)) if seen else None


def _alike(left: Looks, right: Looks) -> npt.NDArray[np.bool_]:
    """Which pictures are the same, [L, R]; two without any structure are."""
    (first, first_size), (second, second_size) = _centred(left), _centred(right)
    alike = (first @ second.T + 1) / (np.outer(first_size, second_size) + 1) >= _SAME
    for row, column in np.argwhere(alike):
        contrast = (first[row] @ second[column] + 1) / (second_size[column] ** 2 + 1)
        alike[row, column] = np.abs(first[row] - contrast * second[column]).max() <= _SAME_CELL
    return np.asarray(alike, bool)


def _centred(looks: Looks) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    values = looks.astype(np.float64)
    values -= values.mean(1, keepdims=True)
    return values, np.linalg.norm(values, axis=1)
