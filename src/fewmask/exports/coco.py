"""COCO instances, one image per known frame, with the track id beside the annotation."""

from typing import Any

from fewmask.media import rle
from fewmask.media.video_tracks import VideoTracks


def coco_dataset(result: VideoTracks, first_image_id: int) -> dict[str, Any]:
    """A dataset {"images", "annotations", "categories"}; the image of frame i has the id ``first_image_id + i``.

    Segmentations are RLE and ``iscrowd`` is 0, as tools for COCO *instances* expect. Beyond the standard keys there are
    ``frame_index`` on images and ``track_id`` and ``score`` on annotations. Frames that are not annotated are left
    out, empty masks too. Annotation ids count from 1 within this dataset.
    """
    height, width = result.size
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for frame in result.frames():
        image_id = first_image_id + frame.index
        images.append(
            {
                "id": image_id,
                "file_name": frame_file_name(result, frame.index),
                "height": height,
                "width": width,
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
    return {"images": images, "annotations": annotations, "categories": categories}


def frame_file_name(result: VideoTracks, index: int) -> str:
    """The frame's image file: its own name for image sources, else NAME/00000.jpg as frames are usually extracted."""
    return result.file_names[index] if result.file_names is not None else f"{result.name}/{index:05d}.jpg"
