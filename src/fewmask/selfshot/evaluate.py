"""Episodes and their video AP: a query video, one of its classes, the clips that support it (Section 6).

One episode counts as one video of its class, so that a query with two classes is two episodes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from fewmask.datasets.ytvis_types import YtvisAnnotation, YtvisDataset, YtvisResult, YtvisVideo, result_from_masks
from fewmask.media.clip_place import ClipPlace
from fewmask.media.frames import open_frames
from fewmask.media.rle import Rle
from fewmask.metrics.video_precision import VideoAP, video_ap
from fewmask.selfshot.stream import SelfShotStream, StreamSettings
from fewmask.selfshot.supports import read_support, spatial_segments, temporal_segments
from fewmask.selfshot.transformer import CommonInstanceTransformer, EncodedSupports

Track = tuple[float, list[Rle | None]]
"""Score and one mask per frame."""
OwnSegments = Literal["temporal", "spatial"]
ALL_TRACKS = StreamSettings(min_score=0.02, min_presence=0.001)
"""Precision over recall wants the doubtful tracks too, in all frames but those that VisTR drops as well."""


@dataclass(frozen=True)
class Episode:
    """A query video by its id, the class in question, and what supports it."""

    video: int
    category: int
    supports: tuple[ClipPlace, ...]


def oracle_episodes(dataset: YtvisDataset, root: Path, *, shots: int, seed: int = 0) -> list[Episode]:
    """Every (video, class) of a dataset that ``shots`` other videos of the class can support, drawn by ``seed``.

    Episodes with fewer shots take the first of those with more.
    """
    shown: dict[int, list[int]] = {}
    for annotation in dataset.annotations:
        of_class = shown.setdefault(annotation.category_id, [])
        if annotation.video_id not in of_class:
            of_class.append(annotation.video_id)
    places = video_places(dataset, root)
    shown = {category: [video for video in videos if video in places] for category, videos in shown.items()}
    found = []
    for category, videos in sorted(shown.items()):
        for video in videos:
            others = [other for other in videos if other != video]
            order = np.random.default_rng((seed, video, category)).permutation(len(others))
            if len(others) >= shots:
                found.append(Episode(video, category, tuple(places[others[other]] for other in order[:shots])))
    return found


def video_places(dataset: YtvisDataset, root: Path) -> dict[int, ClipPlace]:
    """The videos of a dataset, each as one clip, by id; a video's frames lie in a folder of its own.

    A video of one frame is that picture, wherever it lies.
    """
    return {
        video.id: ClipPlace(str(first if video.length == 1 else first.parent), 0, video.length - 1)
        for video in dataset.videos
        if video.file_names
        for first in [root / video.file_names[0]]
    }


def evaluate(
    network: CommonInstanceTransformer,
    dataset: YtvisDataset,
    root: Path,
    episodes: Sequence[Episode],
    settings: StreamSettings = ALL_TRACKS,
    *,
    encoded: dict[ClipPlace, EncodedSupports] | None = None,
) -> VideoAP:
    """Video AP at IoU 0.5 over episodes; the network is left in evaluation mode.

    Args:
        dataset: of the queries, with their masks.
        root: folder of its frame files.
        episodes: what to segment.
        settings: how windows become tracks.
        encoded: supports that the same network has encoded before; more are entered.

    Raises:
        VideoError: a frame of a query or support cannot be read.
    """
    network.eval()
    videos = {video.id: video for video in dataset.videos}
    encoded = {} if encoded is None else encoded
    return score_episodes(
        dataset, episodes,
        [episode_tracks(network, videos[e.video], root, e.supports, settings, encoded=encoded) for e in episodes],
    )  # fmt: skip


def episode_tracks(
    network: CommonInstanceTransformer,
    video: YtvisVideo,
    root: Path,
    supports: Sequence[ClipPlace],
    settings: StreamSettings = ALL_TRACKS,
    *,
    encoded: dict[ClipPlace, EncodedSupports],
) -> list[Track]:
    """What is found in one query: (score, masks) of every track.

    Args:
        video: the query.
        root: folder of its frame files.
        supports: of the episode.
        settings: how windows become tracks.
        encoded: supports that the same network, in evaluation mode, has encoded before; more are entered.

    Raises:
        VideoError: a frame of the query or of a support cannot be read.
    """
    for place in supports:
        if place not in encoded:
            encoded[place] = _encoded(network, place)
    joined = EncodedSupports.joined([encoded[place] for place in supports])
    return list(_tracks(network, [root / name for name in video.file_names], joined, settings))


def own_segment_tracks(
    network: CommonInstanceTransformer,
    video: YtvisVideo,
    root: Path,
    kind: OwnSegments,
    count: int,
    settings: StreamSettings = ALL_TRACKS,
) -> list[Track]:
    """As `episode_tracks`, but supported by pieces of the query itself (Table 13).

    Args:
        network: in evaluation mode.
        video: the query.
        root: folder of its frame files.
        kind: consecutive stretches of it, or windows of half its height and width in all frames.
        count: pieces; pieces longer than a support are cut to its middle frames.
        settings: how windows become tracks.

    Raises:
        VideoError: a frame of the query cannot be read.
    """
    files = [root / name for name in video.file_names]
    with open_frames(list(files)) as frames:
        pictures = [frame.rgb for frame in frames]
    cut = temporal_segments if kind == "temporal" else spatial_segments
    most, device = network.config.support_frames, next(network.parameters()).device
    clips = []
    for clip in cut(pictures, count, network.config.size):
        spare = max(0, len(clip) - most) // 2
        clips.append(clip[spare : spare + most].to(device))
    with torch.inference_mode():
        supports = network.encode_supports(clips)
    return list(_tracks(network, files, supports, settings))


def score_episodes(dataset: YtvisDataset, episodes: Sequence[Episode], tracks: Sequence[Sequence[Track]]) -> VideoAP:
    """Video AP of the tracks of each episode; an episode counts as one video of its class."""
    videos = {video.id: video for video in dataset.videos}
    results: list[YtvisResult] = []
    truths: list[YtvisAnnotation] = []
    queries: list[YtvisVideo] = []
    for number, (episode, found) in enumerate(zip(episodes, tracks, strict=True), 1):
        queries.append(replace(videos[episode.video], id=number))
        truths += [
            replace(annotation, id=len(truths) + place, video_id=number)
            for place, annotation in enumerate(
                (a for a in dataset.annotations if (a.video_id, a.category_id) == (episode.video, episode.category)), 1
            )
        ]
        results += [
            result_from_masks(video_id=number, category_id=episode.category, score=score, segmentations=list(masks))
            for score, masks in found
        ]
    return video_ap(replace(dataset, videos=tuple(queries), annotations=tuple(truths)), results)


@torch.inference_mode()
def _encoded(network: CommonInstanceTransformer, place: ClipPlace) -> EncodedSupports:
    clip = read_support(place, network.config.support_frames, network.config.size)
    return network.encode_supports([clip.to(next(network.parameters()).device)])


def _tracks(
    network: CommonInstanceTransformer, files: Sequence[Path], supports: EncodedSupports, settings: StreamSettings
) -> Iterable[tuple[float, list[Rle | None]]]:
    """Mean score and masks of every track of a query."""
    stream = SelfShotStream(network, supports, settings)
    results = []
    with open_frames(list(files)) as frames:
        for frame in frames:
            results += stream.step(frame)
    results += stream.finish()
    scores: dict[int, list[float]] = {}
    masks: dict[int, list[Rle | None]] = {}
    for result in results:
        for track_id, score, mask in zip(result.track_ids, result.scores, result.masks, strict=True):
            scores.setdefault(track_id, []).append(score)
            masks.setdefault(track_id, [None] * len(files))[result.index] = mask
    # A track that lives in one window only must not outrank one that lasts.
    shown = [track for track in masks if any(mask is not None for mask in masks[track])]
    return [(sum(scores[track]) / len(files), masks[track]) for track in shown]
