"""Short stretches of video: as moving thumbnails (animated WebP, a few frames a second), and as files of their own."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from fewmask.errors import VideoError
from fewmask.media.clip_place import ClipPlace
from fewmask.media.writer import VideoWriter
from fewmask.studio.frame_reader import FrameReader, resized

_FRAMES = 12
_LASTS_MS = 150  # each frame


def moving_picture(reader: FrameReader, first: int, last: int, width: int = 240) -> bytes:
    """Frames ``first`` to ``last`` of a video as an endless animated WebP; at most twelve, evenly spread.

    Raises:
        VideoError: none of them can be read.
    """
    if reader.length is not None:
        last = min(last, reader.length - 1)
    wanted = sorted(set(np.linspace(first, max(first, last), _FRAMES).round().astype(int).tolist()))
    pictures = []
    for index in wanted:
        try:
            pictures.append(Image.fromarray(resized(reader.rgb(index), width)))
        except VideoError:
            if not pictures and index == wanted[-1]:
                raise
    written = io.BytesIO()
    pictures[0].save(
        written, "WEBP", save_all=True, append_images=pictures[1:], duration=_LASTS_MS, loop=0, quality=70, method=0
    )
    return written.getvalue()


def cut(reader: FrameReader, place: ClipPlace, path: Path) -> Path:
    """Write the frames of a clip as a video of their own, which `segment --support-video` takes.

    Raises:
        FewmaskError: a frame cannot be read, or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, reader.size, reader.fps or 10.0) as writer:
        for index in range(place.first, place.last + 1):
            writer.write(reader.rgb(index))
    return path
