"""YouTube-VIS 2019, 2021, 2022 and OVIS files: ground truth and results read, every value checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fewmask.datasets.json_file import (
    all_numbers,
    entries,
    field,
    image_size,
    integer,
    is_number,
    load_object,
    number,
    relative_name,
)
from fewmask.datasets.json_records import iterate_json_list
from fewmask.datasets.track_masks import Masks, TrackMasks
from fewmask.datasets.ytvis_types import (
    OCCLUSION_LEVELS,
    Box,
    Pixels,
    YtvisAnnotation,
    YtvisCategory,
    YtvisDataset,
    YtvisResult,
    YtvisVideo,
    annotation_from_masks,
    mask_areas,
    result_from_masks,
)
from fewmask.errors import DatasetError

__all__ = [
    "OCCLUSION_LEVELS",
    "YtvisAnnotation",
    "YtvisCategory",
    "YtvisDataset",
    "YtvisResult",
    "YtvisVideo",
    "annotation_from_masks",
    "mask_areas",
    "read_ytvis",
    "read_ytvis_results",
    "result_from_masks",
]


Record = dict[str, Any]

_LONGEST = 10**7  # frames of a video; four days at 30 a second


def read_ytvis(path: str | Path, *, unlabelled: bool = False) -> YtvisDataset:
    """A ground truth file.

    Masks may be compressed or plain run lengths or polygons; null and [] mean that the object is absent. ``length`` may
    be missing where ``file_names`` is there. ``areas``, ``bboxes``, ``iscrowd`` and ``occlusion`` are optional.

    Args:
        path: the file.
        unlabelled: accept a file whose masks are not published: without ``annotations``, or with null.

    Raises:
        DatasetError: anything malformed; the message names file, place and key.
    """
    path = Path(path)
    root = load_object(path)
    if unlabelled and root.get("annotations") is None:
        root["annotations"] = []
    videos = tuple(
        _video(record, f"{path}: videos[{i}]") for i, record in enumerate(entries(root, "videos", str(path)))
    )
    categories = tuple(
        _category(record, f"{path}: categories[{i}]") for i, record in enumerate(entries(root, "categories", str(path)))
    )
    video_of = _by_id(videos, path, "videos")
    category_ids = _by_id(categories, path, "categories").keys()

    tracks: TrackMasks[YtvisAnnotation] = TrackMasks()
    seen: dict[int, int] = {}
    for index, record in enumerate(entries(root, "annotations", str(path))):
        identity = integer(record, "id", f"{path}: annotations[{index}]")
        where = f"{path}: annotations[{index}] (id {identity})"
        if identity in seen:
            raise DatasetError(f"{where}: the id is already that of annotations[{seen[identity]}]")
        seen[identity] = index
        video = video_of.get(integer(record, "video_id", where))
        if video is None:
            raise DatasetError(f"{where}: 'video_id' {record['video_id']} is not among the videos")
        if integer(record, "category_id", where) not in category_ids:
            raise DatasetError(f"{where}: 'category_id' {record['category_id']} is not among the categories")
        masks = _per_frame(record, "segmentations", video, where)
        tracks.add(masks, (video.height, video.width), where, _annotation(record, identity, video, where))
    info, licenses = root.get("info"), root.get("licenses")
    return YtvisDataset(
        videos=videos,
        categories=categories,
        annotations=tuple(tracks.flush()),
        info=info if isinstance(info, dict) else {},
        licenses=tuple(licenses) if isinstance(licenses, list) else (),
        path=path,
    )


def read_ytvis_results(
    path: str | Path, dataset: YtvisDataset | None = None, *, any_category: bool = False, lenient: bool = False
) -> tuple[YtvisResult, ...]:
    """A result file: a list of ``{video_id, category_id, score, segmentations}``.

    Args:
        path: the file.
        dataset: what the results belong to; ids, number of frames and mask sizes are checked against it. Without it,
            only the results of one video against each other.
        any_category: accept category ids that the dataset does not have.
        lenient: accept what the official evaluator accepts without a word: fewer masks than frames, category
            ids that the dataset does not have, masks of another size than the video.

    Raises:
        DatasetError: anything malformed; the message names file, place and key.
    """
    path = Path(path)
    known = None if dataset is None else {v.id: (v.length, (v.height, v.width)) for v in dataset.videos}
    categories = None if dataset is None or any_category or lenient else {c.id for c in dataset.categories}
    tracks: TrackMasks[YtvisResult] = TrackMasks()
    first_seen: dict[int, tuple[int, tuple[int, int]]] = {}
    for index, record in enumerate(iterate_json_list(path)):
        where = f"{path}: [{index}]"
        video_id = integer(record, "video_id", where)
        category_id = integer(record, "category_id", where)
        score = float(number(record, "score", where))
        track_id = integer(record, "track_id", where) if record.get("track_id") is not None else None
        if categories is not None and category_id not in categories:
            raise DatasetError(
                f"{where}: 'category_id' {category_id} is not among the categories of the ground truth; "
                "map the classes, or evaluate class-agnostic"
            )
        masks = field(record, "segmentations", list, where)
        if known is None:
            length, size = _first_of(first_seen, video_id, masks, where)
        elif video_id in known:
            length, size = known[video_id]
        else:
            raise DatasetError(f"{where}: 'video_id' {video_id} is not among the videos of the ground truth")
        if len(masks) != length and not (lenient and len(masks) < length):
            raise DatasetError(
                f"{where}: 'segmentations' has {len(masks)} entries, video {video_id} has {length} frames; "
                "give null where the object is absent"
            )
        tracks.add(masks, size, where, _result(video_id, category_id, score, track_id), any_size=lenient)
    return tuple(tracks.flush())


def _video(record: Record, where: str) -> YtvisVideo:
    identity = integer(record, "id", where)
    where = f"{where} (id {identity})"
    height, width = image_size(record, where)
    names = [] if record.get("file_names") is None else field(record, "file_names", list, where)
    for index, name in enumerate(names):
        relative_name(name, f"{where}: file_names[{index}]")
    length = integer(record, "length", where, low=1, high=_LONGEST) if "length" in record else len(names)
    if length == 0:
        raise DatasetError(f"{where}: neither 'length' nor 'file_names' says how many frames there are")
    if names and length != len(names):
        raise DatasetError(f"{where}: 'length' is {length}, 'file_names' has {len(names)} entries")
    return YtvisVideo(identity, width, height, length, tuple(names), _annotated_frames(record, length, where))


def _category(record: Record, where: str) -> YtvisCategory:
    above = record.get("supercategory")
    name = field(record, "name", str, where)
    return YtvisCategory(integer(record, "id", where), name, above if isinstance(above, str) else None)


def _by_id(found: tuple[Any, ...], path: Path, key: str) -> dict[int, Any]:
    by_id: dict[int, Any] = {}
    for index, entry in enumerate(found):
        if entry.id in by_id:
            raise DatasetError(f"{path}: {key}[{index}]: id {entry.id} is given twice")
        by_id[entry.id] = entry
    return by_id


def _annotation(
    record: Record, identity: int, video: YtvisVideo, where: str
) -> Callable[[Masks, Pixels], YtvisAnnotation]:
    """Everything about an annotation but its masks, which are measured later."""
    crowd = bool(integer(record, "iscrowd", where, high=1)) if "iscrowd" in record else False
    areas: list[float | None] | None = None
    boxes: list[Box | None] | None = None
    occlusion: list[str | None] | None = None
    if record.get("areas") is not None:
        areas = _per_frame(record, "areas", video, where)
        if any(area is not None and not (is_number(area) and area >= 0) for area in areas):
            raise DatasetError(f"{where}: 'areas' holds something that is neither null nor a number from 0")
    if record.get("bboxes") is not None:
        values = _per_frame(record, "bboxes", video, where)
        boxes = [_box(value, f"{where}: bboxes[{frame}]") for frame, value in enumerate(values)]
    if record.get("occlusion") is not None:
        occlusion = _per_frame(record, "occlusion", video, where)
        if any(level is not None and level not in OCCLUSION_LEVELS for level in occlusion):
            raise DatasetError(f"{where}: 'occlusion' may hold null, {', '.join(OCCLUSION_LEVELS)} only")
    frames = _annotated_frames(record, video.length, where)
    category_id = int(record["category_id"])
    return lambda masks, pixels: YtvisAnnotation(
        identity, video.id, category_id, masks, pixels, crowd, areas, boxes, occlusion, frames
    )


def _result(
    video_id: int, category_id: int, score: float, track_id: int | None
) -> Callable[[Masks, Pixels], YtvisResult]:
    return lambda masks, pixels: YtvisResult(video_id, category_id, score, masks, pixels, track_id)


def _per_frame(record: Record, key: str, video: YtvisVideo, where: str) -> list[Any]:
    values: list[Any] = field(record, key, list, where)
    if len(values) != video.length:
        raise DatasetError(
            f"{where}: '{key}' has {len(values)} entries, video {video.id} has {video.length} frames; "
            "give null where the object is absent"
        )
    return values


def _box(value: Any, where: str) -> Box | None:
    if value is None or value == []:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all_numbers(value):
        raise DatasetError(f"{where}: a box is [x, y, width, height] or null")
    x, y, width, height = value
    return x, y, width, height


def _annotated_frames(record: Record, length: int, where: str) -> tuple[int, ...] | None:
    frames = record.get("annotated_frames")
    if frames is None:
        return None
    if (
        not isinstance(frames, list)
        or not all(type(frame) is int and 0 <= frame < length for frame in frames)
        or len(set(frames)) != len(frames)
    ):
        raise DatasetError(f"{where}: 'annotated_frames' must list frame numbers 0..{length - 1}, each once")
    return tuple(sorted(frames))


def _first_of(
    seen: dict[int, tuple[int, tuple[int, int]]], video_id: int, masks: list[Any], where: str
) -> tuple[int, tuple[int, int]]:
    """Length and frame size of a video as its first results have them; (1, 1) until a mask has been seen."""
    length, size = seen.get(video_id, (len(masks), (1, 1)))
    if size == (1, 1):
        for frame, mask in enumerate(masks):
            if isinstance(mask, dict):
                own = mask.get("size")
                if not isinstance(own, list) or len(own) != 2:
                    raise DatasetError(f"{where}: segmentations[{frame}]: RLE 'size' must be [height, width]")
                size = image_size({"height": own[0], "width": own[1]}, f"{where}: segmentations[{frame}]")
                break
        seen[video_id] = length, size
    return length, size
