"""Label Studio tasks with predictions, as its "Import" takes them.

Label Studio tracks boxes in a video (VideoRectangle) and paints masks on images (BrushLabels), but has no tag for masks
in a video. So there are two forms:

- one *video task*, one VideoRectangle region per track, with the box of its mask in every frame. Labelling config:
  ``<View><Video name="video" value="$video" framerate="FPS"/><VideoRectangle name="box" toName="video"/>
  <Labels name="label" toName="video"><Label value="NAME"/>...</Labels></View>``
- one *image task per frame*, with the exact masks as BrushLabels; the same track has the same region id in each.
  ``<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image"><Label value="NAME"/>...
  </BrushLabels></View>``
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fewmask.exports.coco import frame_file_name
from fewmask.media import rle
from fewmask.media.results import Track
from fewmask.media.rle import Rle
from fewmask.media.video_tracks import VideoTracks

_MODEL_VERSION = "fewmask"
_DEFAULT_FPS = 25.0  # Label Studio's own default for <Video framerate>
_RUN_BITS = (3, 4, 8, 16)  # the widths a run length can be written in


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
    return {
        "id": f"track-{track.track_id}",
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "original_width": width,
        "original_height": height,
        "score": float(track.score),
        "meta": {"text": [f"track {track.track_id}"]},
        "value": {
            "sequence": sequence,
            "framesCount": result.length,
            "duration": result.length / fps,
            "labels": [result.categories[track.category_id]],
        },
    }


def _image_tasks(result: VideoTracks, video_url: str, frames_url: str) -> Iterator[dict[str, Any]]:
    for frame in result.frames():
        file_name = frame_file_name(result, frame.index).rpartition("/")[2]
        regions = [
            _brush_region(track_id, result.categories[category_id], score, mask)
            for track_id, category_id, score, mask in zip(
                frame.track_ids, frame.category_ids, frame.scores, frame.masks, strict=True
            )
            if mask is not None and rle.area(mask) > 0
        ]
        yield {
            "data": {"image": f"{frames_url.rstrip('/')}/{file_name}", "video": video_url, "frame": frame.index},
            "predictions": [_prediction(regions)],
        }


def _brush_region(track_id: int, label: str, score: float, mask: Rle) -> dict[str, Any]:
    height, width = mask["size"]
    return {
        "id": f"track-{track_id}",
        "type": "brushlabels",
        "from_name": "mask",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": float(score),
        "meta": {"text": [f"track {track_id}"]},
        "value": {"format": "rle", "rle": brush_rle(rle.decode(mask)), "brushlabels": [label]},
    }


def _prediction(regions: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [region["score"] for region in regions]
    return {
        "model_version": _MODEL_VERSION,
        "score": sum(scores) / len(scores) if scores else 0.0,
        "result": regions,
    }


def brush_rle(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Label Studio's own run lengths of a bitmap [H, W], as bytes.

    The picture is RGBA, row by row, all four channels 255 inside and 0 outside. A bit stream holds the number of
    values (32 bits), bits per value - 1 (5), four possible run widths - 1 (4 each), then per run: 1, which width (2),
    length - 1, value. See the rle-pack format of thi.ng/umbrella, which Label Studio's frontend reads.
    """
    flat = mask.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    lengths = np.diff(ends, prepend=0) * 4
    bits = [f"{flat.size * 4:032b}{7:05b}", *(f"{width - 1:04b}" for width in _RUN_BITS)]
    inside = bool(flat[0])
    for length in lengths.tolist():
        bits += _run_bits(length, 255 if inside else 0)
        inside = not inside
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def _run_bits(length: int, value: int) -> Iterator[str]:
    while length > 0:
        part = min(length, 1 << _RUN_BITS[-1])
        which = next(i for i, width in enumerate(_RUN_BITS) if part <= 1 << width)
        yield f"1{which:02b}{part - 1:0{_RUN_BITS[which]}b}{value:08b}"
        length -= part
