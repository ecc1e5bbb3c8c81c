"""DAVIS annotations: one palette PNG per frame, the pixel value is the object."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.atomic import whole_file, write_json
from fewmask.media.results import FrameResult
from fewmask.media.video_tracks import VideoTracks

MOST_VALUES = 255
"""Objects that one palette PNG can hold."""


def write_davis(result: VideoTracks, folder: Path) -> Path:
    """Write a PNG per known frame, with the DAVIS palette, named by `frame_stems`; returns the folder.

    A pixel value is the track id. Only ids outside 1..255, which a palette PNG cannot hold, get one of the values that
    are left, and then ``ids.json`` beside the pictures says which value is which track. A pixel holds one object only:
    where masks overlap the higher score is on top, at equal scores the larger track id.

    Raises:
        DatasetError: there are more than 255 tracks.
        FewmaskError: the folder cannot be written.
    """
    values = write_pixel_values(result.name, [track.track_id for track in result.tracks], folder)
    stems = frame_stems(result.file_names)
    for frame in result.frames():
        write_davis_frame(frame, values, folder, stems)
    return folder


def frame_stems(file_names: Sequence[str] | None) -> dict[int, str]:
    """Frame index -> name of its PNG without suffix: that of the picture it was, as evaluations pair masks by name.

    Empty, which stands for 00000, 00001, ..., for videos, and where two pictures have one name but for the suffix.
    """
    stems = [Path(name).stem for name in file_names or ()]
    return dict(enumerate(stems)) if len({stem.lower() for stem in stems}) == len(stems) else {}


def write_davis_frame(
    frame: FrameResult, values: Mapping[int, int], folder: Path, stems: Mapping[int, str] = MappingProxyType({})
) -> None:
    """Write one frame's PNG, whole or not at all.

    Args:
        frame: what was found in it.
        values: as `pixel_values` gives them for the whole video.
        folder: where to.
        stems: as `frame_stems` gives them for the whole video.

    Raises:
        FewmaskError: the folder cannot be written.
    """
    image = Image.fromarray(_index_map(frame, values))
    image.putpalette(davis_palette().tobytes())
    with whole_file(folder / f"{stems.get(frame.index, f'{frame.index:05d}')}.png") as temporary:
        image.save(temporary)


@cache
def davis_palette() -> npt.NDArray[np.uint8]:
    """The colours [256, 3] of VOC and DAVIS: the bits of the index, three at a time, become the top bits of R, G, B."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    for index in range(256):
        rest = index
        for shift in range(7, -1, -1):
            for channel in range(3):
                colours[index, channel] |= ((rest >> channel) & 1) << shift
            rest >>= 3
    return colours


def write_pixel_values(name: str, track_ids: Iterable[int], folder: Path) -> dict[int, int]:
    """`pixel_values`; where one of them is not the track id itself, also written as ``ids.json`` into ``folder``.

    The file is one object, pixel value -> track id, of every track.

    Raises:
        DatasetError: there are more than 255 tracks.
        FewmaskError: the folder cannot be written.
    """
    values = pixel_values(name, track_ids)
    if any(track_id != value for track_id, value in values.items()):
        write_json(folder / "ids.json", {str(value): track_id for track_id, value in sorted(values.items())})
    return values


def pixel_values(name: str, track_ids: Iterable[int]) -> dict[int, int]:
    """Track id -> pixel value for the video ``name``.

    Raises:
        DatasetError: there are more than 255 tracks.
    """
    track_ids = sorted(track_ids)
    if len(track_ids) > MOST_VALUES:
        raise DatasetError(
            f"{name}: {len(track_ids)} tracks, but a DAVIS PNG holds at most {MOST_VALUES}; keep fewer of them"
        )
    own = {track_id for track_id in track_ids if 1 <= track_id <= MOST_VALUES}
    free = (value for value in range(1, MOST_VALUES + 1) if value not in own)
    return {track_id: track_id if track_id in own else next(free) for track_id in track_ids}


def _index_map(frame: FrameResult, values: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    """Pixel values uint8 [H, W]; 0 is background."""
    index_map = np.zeros(frame.size, dtype=np.uint8)
    rows = sorted(zip(frame.scores, frame.track_ids, frame.masks, strict=True), key=lambda row: row[:2])
    for _, track_id, mask in rows:
        if mask is not None:
            index_map[rle.decode(mask)] = values[track_id]
    return index_map
