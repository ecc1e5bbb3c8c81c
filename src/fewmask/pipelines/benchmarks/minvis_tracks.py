"""The tracks of one segmenter under every way of linking frames; the network runs once for each frame."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from fewmask.datasets.ytvis_types import YtvisDataset, YtvisVideo
from fewmask.errors import ConfigError
from fewmask.minvis.clip_mask2former import ClipMask2Former
from fewmask.minvis.heuristics import InTrackOrder, Matching
from fewmask.minvis.mask2former import Mask2FormerSegmenter
from fewmask.minvis.pixels import Frames
from fewmask.minvis.segmenter import QuerySegmenter, SegmenterOutput
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.pipelines.benchmarks.bench import Record, record_of

MATCHINGS: tuple[Matching, ...] = ("heuristics", "both", "query")
CLIP, WINDOW = "clip", 30
"""The row of the baseline that looks at windows of so many frames."""


def ways_of(segmenter: QuerySegmenter) -> tuple[str, ...]:
    """The matchings, and `CLIP` for the network whose decoder can look at several frames."""
    return (*MATCHINGS, CLIP) if isinstance(segmenter, Mask2FormerSegmenter) else MATCHINGS


class Recorded:
    """A segmenter that runs once for each frame of a video, however often the video is linked."""

    def __init__(self, segmenter: QuerySegmenter) -> None:
        self._segmenter = segmenter
        self._outputs: dict[int, SegmenterOutput] = {}
        self._next = 0

    def __getattr__(self, name: str) -> Any:
        """Everything else is the segmenter's."""
        return getattr(self._segmenter, name)

    def __call__(self, frames: Frames, **sizes: Any) -> SegmenterOutput:
        """Queries of the next frames of the video, computed or remembered."""
        if self._next not in self._outputs:
            self._outputs[self._next] = self._segmenter(frames, **sizes)
        self._next += len(frames)
        return self._outputs[self._next - len(frames)]

    def reset(self) -> None:
        """Before the video is linked once more."""
        self._next = 0

    def forget(self) -> None:
        """Before another video."""
        self._outputs.clear()


def category_ids(segmenter: QuerySegmenter, dataset: YtvisDataset) -> list[int] | None:
    """The dataset's id of every class of the segmenter; None for a segmenter of one class, measured without classes.

    Raises:
        ConfigError: it has another number of classes.
    """
    ids = sorted(category.id for category in dataset.categories)
    if segmenter.num_classes == 1:
        return None
    if segmenter.num_classes != len(ids):
        raise ConfigError(
            f"the weights know {segmenter.num_classes} classes, the data have {len(ids)}; train on them with --recipe "
            "and --start-from"
        )
    return ids


def video_tracks(
    segmenter: QuerySegmenter, video: YtvisVideo, images: Path, ids: list[int] | None, first_id: int = 1,
    ways: Sequence[str] = MATCHINGS,
) -> dict[str, list[Record]]:  # fmt: skip
    """The ten best tracks of a video by way of linking.

    Args:
        ids: as `category_ids` gives them.
        first_id: category of the tracks where that is None.
        ways: of `ways_of`.
    """
    recorded: Any = Recorded(segmenter)
    found: dict[str, list[Record]] = {}
    for way in ways:
        recorded.reset()
        model, settings = MinVIS(recorded), StreamSettings()
        if way == CLIP and isinstance(segmenter, Mask2FormerSegmenter):
            model, settings = MinVIS(ClipMask2Former(segmenter, window=WINDOW)), StreamSettings(batch=WINDOW)
        elif way != "query":
            model = MinVIS(InTrackOrder(recorded, cast(Matching, way)))
        tracks = model.segment([images / name for name in video.file_names], settings).tracks
        found[way] = [
            record_of(video.id, first_id if ids is None else ids[track.category_id - 1], track.score, track.masks)
            for track in tracks
        ]
    return found


def dataset_tracks(segmenter: QuerySegmenter, dataset: YtvisDataset, images: Path) -> Iterator[dict[str, list[Record]]]:
    """`video_tracks` of one video after another."""
    ids, first = category_ids(segmenter, dataset), min(category.id for category in dataset.categories)
    for video in dataset.videos:
        yield video_tracks(segmenter, video, images, ids, first)
