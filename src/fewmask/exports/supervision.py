"""One frame as `supervision.Detections`, with the track id as tracker_id."""

from typing import TYPE_CHECKING

import numpy as np

from fewmask.errors import DatasetError, FewmaskError
from fewmask.media import rle
from fewmask.media.video_tracks import VideoTracks

if TYPE_CHECKING:
    import supervision


def supervision_detections(result: VideoTracks, frame_index: int) -> "supervision.Detections":
    """The tracks present in one frame: xyxy (pixel edges), mask, confidence, class_id, tracker_id, class_name.

    Raises:
        FewmaskError: supervision is not installed.
        DatasetError: the frame lies outside the video, or is not annotated.
    """
    try:
        import supervision
    except ImportError as error:
        raise FewmaskError("supervision is not installed; pip install supervision") from error
    if frame_index not in result.known_frames:
        raise DatasetError(f"{result.name}: frame {frame_index} is not among the video's known frames")
    present = [(track, mask) for track in result.tracks if (mask := track.masks[frame_index]) is not None]
    boxes = np.array([rle.bbox(mask) for _, mask in present], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = rle.decode_many([mask for _, mask in present]).reshape(-1, *result.size)
    return supervision.Detections(
        xyxy=boxes,
        mask=masks,
        confidence=np.array([track.score for track, _ in present], dtype=np.float32),
        class_id=np.array([track.category_id for track, _ in present], dtype=int),
        tracker_id=np.array([track.track_id for track, _ in present], dtype=int),
        data={"class_name": np.array([result.categories[track.category_id] for track, _ in present], dtype=str)},
    )
