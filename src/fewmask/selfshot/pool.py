"""Finding the videos of a pool, under the name by which scripts know it; it is `fewmask.media.find_videos`."""

from fewmask.media.find_videos import find_videos

__all__ = ["find_videos"]
