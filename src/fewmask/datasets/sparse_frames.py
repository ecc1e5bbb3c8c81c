"""The frames that keep their masks when a video is annotated sparsely (MinVIS, section 4.2: 1 %, 5 %, 10 % of frames).

The rule is a property of the video's length alone, so a list once written holds for every training run.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fewmask.datasets import json_file
from fewmask.errors import ConfigError, DatasetError
from fewmask.media.atomic import write_json

_RULE = "n = max(round(ratio * length), 1); n > 1: floor(linspace(0, length, n, end excluded)); n = 1: length // 2"


def sparse_frames(length: int, ratio: float) -> tuple[int, ...]:
    """Frame indices that stay annotated, ascending.

    n = max(round(ratio · length), 1), where halves round to the even neighbour as Python's ``round`` does (0.05 of
    50 frames is 2, of 70 is 4). For n > 1 the frames are floor(linspace(0, length, n, end excluded)), computed in
    floating point as NumPy does; a single frame is the middle one, length // 2.

    Args:
        length: frames in the video, at least 1.
        ratio: share of frames that keep their masks, in (0, 1]; raising it keeps more.

    Raises:
        ConfigError: ``length`` or ``ratio`` is out of range.
    """
    if length < 1 or not 0 < ratio <= 1:
        raise ConfigError(f"sparse frames need a length of 1 or more and a ratio in (0, 1], got {length} and {ratio}")
    count = max(round(ratio * length), 1)
    if count == 1:
        return (length // 2,)
    return tuple(int(frame) for frame in np.floor(np.linspace(0, length, count, endpoint=False)))


def write_frame_lists(path: str | Path, lengths: Mapping[str, int], ratio: float) -> None:
    """Write the frames that stay annotated for every video name, with the rule in words, as JSON.

    Raises:
        ConfigError: ``ratio`` is out of range.
        FewmaskError: the folder cannot be written.
    """
    frames = {name: list(sparse_frames(length, ratio)) for name, length in lengths.items()}
    write_json(Path(path), {"rule": _RULE, "ratio": ratio, "lengths": dict(lengths), "frames": frames}, indent=1)


def read_frame_lists(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Video name -> annotated frames, from a file that `write_frame_lists` or a user wrote.

    Raises:
        DatasetError: malformed, or a frame outside its video.
    """
    path = Path(path)
    document = json_file.load_object(path)
    frames = json_file.field(document, "frames", dict, str(path))
    lengths = json_file.field(document, "lengths", dict, str(path))
    return {name: _checked(name, indices, lengths, str(path)) for name, indices in frames.items()}


def _checked(name: str, indices: object, lengths: dict[str, object], where: str) -> tuple[int, ...]:
    length = json_file.integer(lengths, name, f"{where}: lengths", low=1)
    if not isinstance(indices, list) or {type(index) for index in indices} - {int}:
        raise DatasetError(f"{where}: frames of {name!a} must be a list of whole numbers")
    if sorted(set(indices)) != indices or (indices and not 0 <= indices[0] <= indices[-1] < length):
        raise DatasetError(f"{where}: frames of {name!a} must ascend within [0, {length})")
    return tuple(indices)
