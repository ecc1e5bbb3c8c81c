"""A dataset reduced to some of its videos."""

from collections.abc import Collection
from dataclasses import replace

from fewmask.datasets.ytvis_types import YtvisDataset


def keep_videos(dataset: YtvisDataset, video_ids: Collection[int]) -> YtvisDataset:
    """The dataset with the videos in ``video_ids`` and their annotations; categories and ids stay as they are."""
    kept = set(video_ids)
    return replace(
        dataset,
        videos=tuple(video for video in dataset.videos if video.id in kept),
        annotations=tuple(annotation for annotation in dataset.annotations if annotation.video_id in kept),
    )
