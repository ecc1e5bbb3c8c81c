"""Label Studio tasks with predictions, as its "Import" takes them, and the labelling config of their project.

Label Studio tracks boxes in a video (VideoRectangle) and paints masks on images (BrushLabels), but has no tag for masks
in a video. So there are two forms:

- one *image task per frame*, with the exact masks as brush strokes to correct; a track's region has the id "track-N"
  and
  the text "track N" in each.
- one *video task*, with the box of every track in every frame.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from fewmask.media import rle
from fewmask.media.brush_rle import encode_brush
from fewmask.media.frame_names import frame_name
from fewmask.media.results import Track
from fewmask.media.rle import Rle
from fewmask.media.video_tracks import VideoTracks

_MODEL_VERSION = "fewmask"
_DEFAULT_FPS = 25.0  # Label Studio's own default for <Video framerate>


def label_studio_config(result: VideoTracks, *, boxes: bool = False) -> str:
    """The labelling config (XML) of a project for the image tasks, or with ``boxes`` for the video task."""
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for _, name in sorted(result.categories.items()))
    if boxes:
        rate = f"{result.fps or _DEFAULT_FPS:g}"
        return (
            f'<View>\n  <Labels name="label" toName="video">\n{labels}  </Labels>\n'
            f'  <Video name="video" value="$video" framerate="{rate}"/>\n'
            '  <VideoRectangle name="box" toName="video"/>\n</View>\n'
        )
    return (
        f'<View>\n  <BrushLabels name="mask" toName="image">\n{labels}  </BrushLabels>\n'
        '  <Image name="image" value="$image" zoom="true"/>\n</View>\n'
    )


def label_studio_tasks(result: VideoTracks, video_url: str, frames_url: str | None) -> list[dict[str, Any]]:
    """The video task, or with ``frames_url`` the image tasks; see `VideoResult.to_label_studio`."""
    if frames_url is None:
        return [_video_task(result, video_url)]
    return list(_image_tasks(result, video_url, frames_url))


def _video_task(result: VideoTracks, video_url: str) -> dict[str, Any]:
    regions = [_box_region(result, track) for track in result.tracks]
    return {
        "data": {"video": video_url},
        "predictions": [_prediction([region for region in regions if region["value"]["sequence"]])],
    }


def _box_region(result: VideoTracks, track: Track) -> dict[str, Any]:
    """A track as VideoRectangle: percent of the picture, frames from 1; ``enabled`` = shown until the next entry."""
    height, width = result.size
    fps = result.fps or _DEFAULT_FPS
    sequence: list[dict[str, Any]] = []
    for index, mask in enumerate(track.masks):
        if mask is None or rle.area(mask) == 0:
            continue
        x, y, box_width, box_height = rle.bbox(mask)
        if sequence and sequence[-1]["frame"] == index:  # the frame before this one, counted from 1
            sequence[-1]["enabled"] = True
        sequence.append(
            {
                "frame": index + 1,
                "time": (index + 1) / fps,
                "x": 100 * x / width,
                "y": 100 * y / height,
                "width": 100 * box_width / width,
                "height": 100 * box_height / height,
                "rotation": 0,
                "enabled": False,
            }
        )
    value = {
        "sequence": sequence,
        "framesCount": result.length,
        "duration": result.length / fps,
        "labels": [result.categories[track.category_id]],
    }
    return _region(track.track_id, track.score, ("videorectangle", "box", "video"), result.size, value)


def _image_tasks(result: VideoTracks, video_url: str, frames_url: str) -> Iterator[dict[str, Any]]:
    height, width = result.size
    for frame in result.frames():
        file_name = frame_name(result.name, frame.index, result.file_names)
        rows = zip(frame.track_ids, frame.category_ids, frame.scores, frame.masks, strict=True)
        regions = [
            _brush_region(track_id, result.categories[category_id], score, mask)
            for track_id, category_id, score, mask in rows
            if mask is not None and rle.area(mask) > 0
        ]
        data = {
            "image": f"{frames_url.rstrip('/')}/{quote(file_name.rpartition('/')[2])}",
            "video": video_url,
            "frame": frame.index,
            "file_name": file_name,
            "height": height,
            "width": width,
        }
        yield {"data": data, "predictions": [_prediction(regions)]}


def _brush_region(track_id: int, label: str, score: float, mask: Rle) -> dict[str, Any]:
    value = {"format": "rle", "rle": encode_brush(rle.decode(mask)), "brushlabels": [label]}
    size = mask["size"][0], mask["size"][1]
    return {**_region(track_id, score, ("brushlabels", "mask", "image"), size, value), "image_rotation": 0}


def _region(
    track_id: int, score: float, tags: tuple[str, str, str], size: tuple[int, int], value: dict[str, Any]
) -> dict[str, Any]:
    """``tags``: type of the region, name of its control and of its object in the config."""
    kind, from_name, to_name = tags
    return {
        "id": f"track-{track_id}",
        "type": kind,
        "from_name": from_name,
        "to_name": to_name,
        "original_width": size[1],
        "original_height": size[0],
        "score": float(score),
        "meta": {"text": [f"track {track_id}"]},
        "value": value,
    }


def _prediction(regions: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [region["score"] for region in regions]
    return {
        "model_version": _MODEL_VERSION,
        "score": sum(scores) / len(scores) if scores else 0.0,
        "result": regions,
    }
