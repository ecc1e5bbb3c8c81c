"""The frames of a video in which nothing is unknown."""

from collections.abc import Iterable

from fewmask.datasets.ytvis_types import YtvisAnnotation, YtvisVideo


def known_frames(video: YtvisVideo, tracks: Iterable[YtvisAnnotation]) -> list[int]:
    """The frames, ascending, in which the video and each of its tracks are annotated.

    Formats that tell a whole frame's pixels can only hold these: elsewhere an unknown object would become background.
    """
    known = set(range(video.length) if video.annotated_frames is None else video.annotated_frames)
    for track in tracks:
        if track.annotated_frames is not None:
            known &= set(track.annotated_frames)
    return sorted(known)
