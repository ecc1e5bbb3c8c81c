"""The file name of a frame, the same wherever frames are written and wherever files point to them."""

from collections.abc import Sequence


def frame_name(video: str, index: int, file_names: Sequence[str] | None = None) -> str:
    """Its own name for image sources, else VIDEO/00000.jpg, as frames are usually extracted."""
    return file_names[index] if file_names is not None else f"{video}/{index:05d}.jpg"
