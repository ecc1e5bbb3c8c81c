"""YouTube-VIS files written, as other tools and evaluation servers read them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewmask.datasets.ytvis_types import YtvisAnnotation, YtvisDataset, YtvisResult, YtvisVideo
from fewmask.media import rle
from fewmask.media.atomic import whole_file

Record = dict[str, Any]


def write_ytvis(path: str | Path, dataset: YtvisDataset) -> None:
    """Write a ground truth that other tools read; missing areas and boxes are measured from the masks.

    ``annotated_frames`` is written where it is known; other readers ignore it.

    Raises:
        FewmaskError: the file cannot be written.
    """
    head = {
        "info": dataset.info,
        "licenses": list(dataset.licenses),
        "videos": [_video_record(video) for video in dataset.videos],
        "categories": [
            {"id": category.id, "name": category.name}
            | ({} if category.supercategory is None else {"supercategory": category.supercategory})
            for category in dataset.categories
        ],
    }
    video_of = {video.id: video for video in dataset.videos}
    with whole_file(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.write(json.dumps(head, allow_nan=False)[:-1] + ', "annotations": [')
        for index, annotation in enumerate(dataset.annotations):
            record = _annotation_record(annotation, video_of[annotation.video_id])
            handle.write((",\n" if index else "\n") + json.dumps(record, allow_nan=False))
        handle.write("]}\n")


def write_ytvis_results(path: str | Path, results: Iterator[YtvisResult] | tuple[YtvisResult, ...]) -> None:
    """Write predicted tracks as the result list that evaluation servers take.

    Raises:
        FewmaskError: the file cannot be written.
    """
    with whole_file(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.write("[")
        for index, result in enumerate(results):
            record = {
                "video_id": result.video_id,
                "category_id": result.category_id,
                "score": result.score,
                "segmentations": result.segmentations,
            }
            handle.write((",\n" if index else "\n") + json.dumps(record, allow_nan=False))
        handle.write("]\n")


def _video_record(video: YtvisVideo) -> Record:
    record: Record = {
        "id": video.id,
        "width": video.width,
        "height": video.height,
        "length": video.length,
        "file_names": list(video.file_names),
    }
    if video.annotated_frames is not None:
        record["annotated_frames"] = list(video.annotated_frames)
    return record


def _annotation_record(annotation: YtvisAnnotation, video: YtvisVideo) -> Record:
    masks = annotation.segmentations
    areas: list[Any] | None = annotation.areas
    if areas is None:
        areas = [None if mask is None else int(area) for mask, area in zip(masks, annotation.mask_areas, strict=True)]
    boxes = annotation.bboxes
    if boxes is None:
        boxes = [None if mask is None else rle.bbox(mask) for mask in masks]
    record: Record = {
        "id": annotation.id,
        "video_id": annotation.video_id,
        "category_id": annotation.category_id,
        "iscrowd": int(annotation.iscrowd),
        "height": video.height,
        "width": video.width,
        "length": video.length,
        "segmentations": masks,
        "areas": areas,
        "bboxes": boxes,
    }
    if annotation.occlusion is not None:
        record["occlusion"] = annotation.occlusion
    if annotation.annotated_frames is not None:
        record["annotated_frames"] = list(annotation.annotated_frames)
    return record
