"""Few-shot episodes through VIPMT: lists of supports and queries in, results at the network's size out.

The papers compare masks at the letterboxed 240 x 424, black bars included; so pictures are letterboxed before the
network sees them, and the truth is letterboxed alike. Of YouTube-VIS only the frames in which the class is visible
are seen and measured, of MiniVSPW every frame.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fewmask.datasets.draws import seed_of
from fewmask.datasets.episodes import Episode, Protocol
from fewmask.datasets.pictures import read_picture
from fewmask.datasets.presence import video_names
from fewmask.datasets.ytvis_types import YtvisAnnotation, YtvisDataset, YtvisVideo, annotation_from_masks
from fewmask.media import rle
from fewmask.media.frame_source import Frame, RgbImage
from fewmask.media.rle import BoolMask, Rle
from fewmask.pipelines.benchmarks.bench import Record, record_of
from fewmask.vipmt.letterbox import Letterbox
from fewmask.vipmt.model import clips_of
from fewmask.vipmt.network import VIPMTNetwork
from fewmask.vipmt.stream import ClipStream, fit_support
from fewmask.vipmt.support import SupportPicture, SupportSet


@dataclass(frozen=True)
class Query:
    """An episode and the video of the truth that its result belongs to.

    TTI's protocol can draw a query of a class several times in a run; each time counts, so the truth has copies.
    """

    episode: Episode
    video_id: int


class EpisodeVideos:
    """The videos of a dataset as episodes need them, at the network's size.

    Args:
        dataset: with the masks.
        root: folder of its frames.
        size: (height, width) of the network's input.
        every_frame: a query is all of its frames, not only those that show the class.
    """

    def __init__(self, dataset: YtvisDataset, root: Path, size: tuple[int, int], *, every_frame: bool) -> None:
        self._root, self._size, self._every_frame = root, size, every_frame
        self._dataset = dataset
        names = video_names(dataset)
        self.videos: Mapping[str, YtvisVideo] = {names[video.id]: video for video in dataset.videos}
        self._tracks: dict[tuple[int, int], list[YtvisAnnotation]] = {}
        for annotation in dataset.annotations:
            self._tracks.setdefault((annotation.video_id, annotation.category_id), []).append(annotation)

    def queries(self, episodes: Sequence[Episode]) -> list[Query]:
        """Episodes with the video ids of their results; the n-th copy of a video within a run has an id of its own."""
        step = max((video.id for video in self.videos.values()), default=0) + 1
        drawn: dict[tuple[int, int, str], int] = {}
        found = []
        for episode in episodes:
            key = (episode.run, episode.class_id, episode.query)
            copy = drawn.get(key, 0)
            drawn[key] = copy + 1
            found.append(Query(episode, self.videos[episode.query].id + copy * step))
        return found

    def truth(self, queries: Sequence[Query]) -> YtvisDataset:
        """What the queries are measured against: letterboxed masks of the classes asked for."""
        wanted = {(query.video_id, query.episode.query): set[int]() for query in queries}
        for query in queries:
            wanted[query.video_id, query.episode.query].add(query.episode.class_id)
        videos, annotations = [], list[YtvisAnnotation]()
        for (key, name), classes in sorted(wanted.items()):
            video = self.videos[name]
            videos.append(replace(video, id=key, height=self._size[0], width=self._size[1]))
            for class_id in sorted(classes):
                masks = [self._letterboxed(video, class_id, frame) for frame in range(video.length)]
                annotations.append(
                    annotation_from_masks(
                        id=len(annotations) + 1, video_id=key, category_id=class_id, segmentations=masks
                    )
                )
        return replace(self._dataset, videos=tuple(videos), annotations=tuple(annotations), path=None)

    def segment(self, network: VIPMTNetwork, query: Query, protocol: Protocol) -> Record:
        """The result of one episode, masks at the network's size."""
        episode = query.episode
        pictures = tuple(self._support(episode.class_id, *support) for support in episode.supports)
        fitted = fit_support(network, SupportSet({"class": pictures}))
        key = (protocol, episode.run, episode.fold, episode.class_id, episode.query)
        stream = ClipStream(network, fitted, seed=seed_of("benchmark memory", *key))
        video = self.videos[episode.query]
        masks: list[Rle | None] = [None] * video.length
        scores: list[float] = []
        for clip in clips_of(self._frames(video, episode.class_id), network.config.clip_length):
            for result in stream.step(clip):
                masks[result.index] = result.masks[0]
                scores.append(result.scores[0])
        return record_of(query.video_id, episode.class_id, float(np.mean(scores)) if scores else 0.0, masks)

    def _support(self, class_id: int, name: str, frame: int) -> SupportPicture:
        video = self.videos[name]
        mask = self._mask(video, class_id, frame)
        box = self._box(video)
        return SupportPicture(f"{name}, frame {frame}", box.image(self._picture(video, frame)), box.mask(mask))

    def _frames(self, video: YtvisVideo, class_id: int) -> Iterator[Frame]:
        box = self._box(video)
        for frame in range(video.length):
            if self._every_frame or self._mask(video, class_id, frame).any():
                yield Frame(frame, float(frame), box.image(self._picture(video, frame)))

    def _letterboxed(self, video: YtvisVideo, class_id: int, frame: int) -> Rle | None:
        mask = self._mask(video, class_id, frame)
        return rle.encode(self._box(video).mask(mask)) if mask.any() else None

    def _mask(self, video: YtvisVideo, class_id: int, frame: int) -> BoolMask:
        tracks = self._tracks.get((video.id, class_id), ())
        masks = [mask for track in tracks if (mask := track.segmentations[frame]) is not None]
        return rle.decode(rle.union(masks)) if masks else np.zeros((video.height, video.width), dtype=bool)

    def _picture(self, video: YtvisVideo, frame: int) -> RgbImage:
        return read_picture(self._root / video.file_names[frame], (video.height, video.width), "its label")

    def _box(self, video: YtvisVideo) -> Letterbox:
        return Letterbox.fit((video.height, video.width), self._size)
