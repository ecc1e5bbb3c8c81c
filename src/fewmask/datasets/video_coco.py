"""Videos of tracks as COCO pictures, and COCO pictures that belong to videos as tracks.

The COCO side follows the convention of video tools: a picture has ``video_id`` and ``frame_id``, an annotation
``instance_id``, and a list ``videos`` tells what the pictures alone do not: length and names of all frames, those
left out as unannotated included. With it the way there and back is lossless (tracks come back in the order of their
ids), but for tracks without any mask, and null and empty masks, which COCO does not tell apart.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewmask.datasets import json_file
from fewmask.datasets.coco import CocoAnnotation, CocoDataset, CocoImage
from fewmask.datasets.known_frames import known_frames
from fewmask.datasets.presence import video_names
from fewmask.datasets.ytvis_types import (
    OCCLUSION_LEVELS,
    Box,
    YtvisAnnotation,
    YtvisCategory,
    YtvisDataset,
    YtvisVideo,
    mask_areas,
)
from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.rle import Rle

_FRAME_KEYS = ("frame_id", "frame_index", "frame_ind")
_TRACK_KEYS = ("instance_id", "track_id")


def frames_as_pictures(dataset: YtvisDataset, images_root: Path) -> CocoDataset:
    """Every annotated frame as one picture; frames in which anything is unknown are left out.

    Raises:
        DatasetError: a video without file names.
    """
    images: list[CocoImage] = []
    annotations: list[CocoAnnotation] = []
    names = video_names(dataset)
    tracks: dict[int, list[YtvisAnnotation]] = {video.id: [] for video in dataset.videos}
    for track in dataset.annotations:
        tracks[track.video_id].append(track)
    for video in dataset.videos:
        if not video.file_names:
            raise DatasetError(f"{dataset.path or 'dataset'}: video {video.id} has no file_names, which COCO needs")
        for frame in known_frames(video, tracks[video.id]):
            extra = {"video_id": video.id, "frame_id": frame}
            image = CocoImage(len(images) + 1, video.file_names[frame], video.height, video.width, extra)
            images.append(image)
            for track in tracks[video.id]:
                mask = track.segmentations[frame]
                if mask is not None and track.mask_areas[frame]:
                    annotations.append(_annotation(track, frame, mask, len(annotations) + 1, image))
    return CocoDataset(
        images=tuple(images),
        annotations=tuple(annotations),
        categories={category.id: category.name for category in dataset.categories},
        images_root=images_root,
        info=dataset.info,
        supercategories={c.id: c.supercategory for c in dataset.categories if c.supercategory is not None},
        extra={
            "licenses": list(dataset.licenses),
            "videos": [_record(video, names[video.id]) for video in dataset.videos],
        },
    )


def pictures_as_frames(dataset: CocoDataset) -> YtvisDataset:
    """Tracks out of pictures that say which video they belong to and annotations that say which object they are.

    Raises:
        DatasetError: a picture without ``video_id`` or frame number, an annotation without ``instance_id`` (or
            ``track_id``), two annotations of one track in a picture, or sizes or classes that change within a video
            or track.
    """
    name = "" if dataset.path is None else f"{dataset.path}: "
    pictures: dict[int, list[CocoImage]] = {}
    for image in dataset.images:
        pictures.setdefault(_whole(image.extra, ("video_id",), f"{name}image {image.id}"), []).append(image)
    records = _records(dataset, name)
    videos: list[YtvisVideo] = []
    place: dict[int, tuple[int, int]] = {}  # image id -> (index of its video, frame)
    for video_id in [*records, *(key for key in pictures if key not in records)]:
        video, frames = _video(video_id, pictures.get(video_id, []), records.get(video_id, ()), name)
        place |= {image: (len(videos), frame) for image, frame in frames.items()}
        videos.append(video)
    tracks: dict[tuple[int, int], list[CocoAnnotation]] = {}
    for annotation in dataset.annotations:
        track = _whole(annotation.extra, _TRACK_KEYS, f"{name}annotation {annotation.id}")
        tracks.setdefault((place[annotation.image_id][0], track), []).append(annotation)
    ids = [track for _, track in tracks]
    keep_ids = len(set(ids)) == len(ids) and min(ids, default=1) >= 1  # else they are only unique within a video
    frame_of = {image: frame for image, (_, frame) in place.items()}
    made = [
        _track(track if keep_ids else number, videos[index], parts, frame_of, name)
        for number, ((index, track), parts) in enumerate(tracks.items(), start=1)
    ]
    return _dataset(dataset, videos, sorted(made, key=lambda track: track.id))


def pictures_as_videos(dataset: CocoDataset) -> YtvisDataset:
    """Every picture as a video of one frame, every annotation as a track of one mask; ids stay as they are."""
    videos = [YtvisVideo(i.id, i.width, i.height, 1, (i.file_name,)) for i in dataset.images]
    tracks = [_track(a.id, YtvisVideo(a.image_id, 1, 1, 1), [a], {a.image_id: 0}, "") for a in dataset.annotations]
    return _dataset(dataset, videos, tracks)


def has_tracks(dataset: CocoDataset) -> bool:
    """Whether any picture says which video it belongs to."""
    return any("video_id" in image.extra for image in dataset.images)


def _annotation(track: YtvisAnnotation, frame: int, mask: Rle, identity: int, image: CocoImage) -> CocoAnnotation:
    area = None if track.areas is None else track.areas[frame]
    box = None if track.bboxes is None else track.bboxes[frame]
    level = None if track.occlusion is None else track.occlusion[frame]
    return CocoAnnotation(
        id=identity,
        image_id=image.id,
        category_id=track.category_id,
        segmentation=mask,
        size=(image.height, image.width),
        iscrowd=track.iscrowd,
        bbox=rle.bbox(mask) if box is None else box,
        area=int(track.mask_areas[frame]) if area is None else area,
        extra={"video_id": track.video_id, "instance_id": track.id} | ({} if level is None else {"occlusion": level}),
    )


def _record(video: YtvisVideo, name: str) -> dict[str, Any]:
    return {
        "id": video.id,
        "name": name,
        "width": video.width,
        "height": video.height,
        "length": video.length,
        "file_names": list(video.file_names),
    }


def _records(dataset: CocoDataset, name: str) -> dict[int, tuple[str, ...]]:
    """Video id -> the names of all its frames, empty where the list ``videos`` does not tell them."""
    if "videos" not in dataset.extra:
        return {}
    found: dict[int, tuple[str, ...]] = {}
    for index, entry in enumerate(json_file.entries(dataset.extra, "videos", f"{name}COCO file")):
        where = f"{name}videos[{index}]"
        key = json_file.integer(entry, "id", where)
        if key in found:
            raise DatasetError(f"{where}: id {key} is there twice")
        names = json_file.field(entry, "file_names", list, where) if "file_names" in entry else []
        found[key] = tuple(json_file.relative_name(frame, where) for frame in names)
    return found


def _video(
    video_id: int, images: Sequence[CocoImage], names: Sequence[str], file: str
) -> tuple[YtvisVideo, dict[int, int]]:
    """The video of the pictures that belong to it, and the frame of each picture's id."""
    numbers = {image.id: _whole(image.extra, _FRAME_KEYS, f"{file}image {image.id}") for image in images}
    order = sorted(images, key=lambda image: numbers[image.id])
    where = f"{file}video {video_id}"
    if len(set(numbers.values())) != len(order):
        raise DatasetError(f"{where}: two pictures have the same frame number")
    if len({(image.height, image.width) for image in order}) != 1:
        raise DatasetError(f"{where}: its pictures differ in size" if order else f"{where}: it has no pictures")
    if not names:
        frames = {image.id: frame for frame, image in enumerate(order)}
        names = [image.file_name for image in order]
    else:
        frames = numbers
        for image in order:
            if numbers[image.id] >= len(names) or names[numbers[image.id]] != image.file_name:
                raise DatasetError(
                    f"{where}: picture {image.file_name!a} is not frame {numbers[image.id]} of file_names"
                )
    known = None if len(order) == len(names) else tuple(sorted(frames.values()))
    return YtvisVideo(video_id, order[0].width, order[0].height, len(names), tuple(names), known), frames


def _track(
    identity: int, video: YtvisVideo, parts: Sequence[CocoAnnotation], frame_of: Mapping[int, int], file: str
) -> YtvisAnnotation:
    where = f"{file}video {video.id}, track {identity}"
    if len({(part.category_id, part.iscrowd) for part in parts}) > 1:
        raise DatasetError(f"{where}: its annotations differ in category_id or iscrowd")
    at = {frame_of[part.image_id]: part for part in parts}
    if len(at) < len(parts):
        raise DatasetError(f"{where}: two annotations in one picture; a track has one mask a frame")
    masks: list[Rle | None] = [at[frame].mask if frame in at else None for frame in range(video.length)]
    areas: list[float | None] = [at[frame].area if frame in at else None for frame in range(video.length)]
    boxes: list[Box | None] = [at[frame].bbox if frame in at else None for frame in range(video.length)]
    occlusion = [at[frame].extra.get("occlusion") if frame in at else None for frame in range(video.length)]
    return YtvisAnnotation(
        id=identity,
        video_id=video.id,
        category_id=parts[0].category_id,
        segmentations=masks,
        mask_areas=mask_areas(masks),
        iscrowd=parts[0].iscrowd,
        areas=areas,
        bboxes=boxes,
        occlusion=occlusion if any(level in OCCLUSION_LEVELS for level in occlusion) else None,
    )


def _dataset(dataset: CocoDataset, videos: Sequence[YtvisVideo], tracks: Sequence[YtvisAnnotation]) -> YtvisDataset:
    licenses = dataset.extra.get("licenses")
    return YtvisDataset(
        videos=tuple(videos),
        categories=tuple(
            YtvisCategory(key, name, dataset.supercategories.get(key)) for key, name in dataset.categories.items()
        ),
        annotations=tuple(tracks),
        info=dict(dataset.info),
        licenses=tuple(licenses) if isinstance(licenses, list) else (),
    )


def _whole(extra: Mapping[str, Any], keys: Sequence[str], where: str) -> int:
    key = next((key for key in keys if extra.get(key) is not None), None)
    if key is None:
        raise DatasetError(
            f"{where}: no {keys[0]!r}, so its track is not known; take every picture on its own with --single-frames"
        )
    return json_file.integer(extra, key, where)
