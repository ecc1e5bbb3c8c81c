"""What a mined track looks like in figures, for those who review it."""

from collections.abc import Iterable, Sequence
from typing import Any

from fewmask.media import rle
from fewmask.mining.mined_video import MinedMask, MinedVideo


def track_figures(video: MinedVideo, track: int, seen: Sequence[tuple[int, MinedMask]]) -> dict[str, Any]:
    """Plain values; means are over the masks, to four digits.

    Args:
        video: whose track it is.
        track: its number there.
        seen: frame and mask, in order, at least one.
    """
    masks = [mask for _, mask in seen]
    return {
        "video": video.name,
        "track": track,
        "first": seen[0][0],
        "last": seen[-1][0],
        "masks": len(masks),
        "confidence": mean(mask.confidence for mask in masks),
        "score": mean(mask.score for mask in masks),
        "foreground": mean(mask.foreground for mask in masks),
        "stability": mean(mask.stability for mask in masks),
        "area": mean(rle.area(mask.mask) / (video.size[0] * video.size[1]) for mask in masks),
    }


def mean(values: Iterable[float]) -> float:
    """To four digits; there must be a value."""
    numbers = list(values)
    return round(sum(numbers) / len(numbers), 4)
