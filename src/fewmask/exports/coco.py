"""COCO instances, one image per known frame, with the track id beside the annotation."""

from typing import Any

from fewmask.media import rle
from fewmask.media.frame_names import frame_name
from fewmask.media.video_tracks import VideoTracks


def coco_dataset(result: VideoTracks, first_image_id: int) -> dict[str, Any]:
    """A dataset of ``images``, ``annotations``, ``categories`` and ``videos``; frame i is image ``first_image_id + i``.

    Segmentations are RLE and ``iscrowd`` is 0, as tools for COCO *instances* expect. Beyond the standard keys there are
    ``video_id`` and ``frame_index`` on images, so that ``convert-data`` makes tracks of them again, and ``track_id``
    and ``score`` on annotations. Frames that are not annotated are left out, empty masks too. Annotation ids count from
    1 within this dataset.
    """
    height, width = result.size
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for frame in result.frames():
        image_id = first_image_id + frame.index
        images.append(
            {
                "id": image_id,
                "file_name": frame_name(result.name, frame.index, result.file_names),
                "height": height,
                "width": width,
                "video_id": 1,
                "frame_index": frame.index,
            }
        )
        rows = zip(frame.track_ids, frame.category_ids, frame.scores, frame.masks, strict=True)
        for track_id, category_id, score, mask in rows:
            area = 0 if mask is None else rle.area(mask)
            if mask is None or area == 0:
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_id,
                    "segmentation": mask,
                    "area": area,
                    "bbox": list(rle.bbox(mask)),
                    "iscrowd": 0,
                    "score": float(score),
                    "track_id": track_id,
                }
            )
    categories = [{"id": category_id, "name": name} for category_id, name in sorted(result.categories.items())]
    names = [frame_name(result.name, index, result.file_names) for index in range(result.length)]
    video = {"id": 1, "name": result.name, "height": height, "width": width, "file_names": names}
    return {"videos": [video], "images": images, "annotations": annotations, "categories": categories}
