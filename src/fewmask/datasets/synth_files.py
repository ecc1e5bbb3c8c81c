"""One synthetic video on disk: its frames, and a record that says it is finished.

    OUT/JPEGImages/00000/00000.jpg   frames, JPEG quality 92 with full colour (or OUT/videos/00000.mp4)
    OUT/records/00000.json           the video's entry and its annotations, written last

A video with a record is finished; whatever an interrupted run left of another is removed and made again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.datasets.synth_video import SyntheticFrame, VideoPlan, render
from fewmask.errors import FewmaskError, VideoError
from fewmask.media import rle
from fewmask.media.atomic import whole_file, write_json
from fewmask.media.h264 import repeatable
from fewmask.media.rle import Rle

VideoFormat = Literal["jpg", "mp4"]
Record = dict[str, Any]

FRAMES_PER_SECOND = 6
"""Of the mp4 files; the motion between two frames is that of YouTube-VIS, which keeps six frames a second."""
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
_SLIGHT_FROM, _SEVERE_FROM = 0.05, 0.5


def write_video(out: Path, index: int, plan: VideoPlan, video_format: VideoFormat) -> None:
    """Render a plan as video number ``index`` (from 0) of the dataset in ``out``, its record last.

    Raises:
        FewmaskError: a file cannot be written.
    """
    name = video_name(index)
    masks: list[list[Rle | None]] = [[] for _ in plan.category_ids]
    hidden: list[npt.NDArray[np.float32]] = []

    def frames() -> Iterator[npt.NDArray[np.uint8]]:
        for frame in render(plan):
            for track, mask in zip(masks, _encoded(frame), strict=True):
                track.append(mask)
            hidden.append(frame.hidden)
            yield frame.rgb

    file_names: list[str] = []
    if video_format == "jpg":
        with _whole_folder(out / "JPEGImages" / name) as folder:
            for number, rgb in enumerate(frames()):
                file_names.append(f"{name}/{number:05}.jpg")
                _write_jpeg(folder / f"{number:05}.jpg", rgb)
    else:
        _write_mp4(out / "videos" / f"{name}.mp4", frames(), *plan.config.size)
    video: Record = {
        "id": index + 1,
        "width": plan.config.width,
        "height": plan.config.height,
        "length": plan.frames,
        "file_names": file_names,
    }
    if video_format == "mp4":
        video["video_file"] = f"videos/{name}.mp4"
    annotations = [
        _annotation(video, plan.category_ids[track], plan.annotation_ids[track], masks[track], shares)
        for track, shares in enumerate(np.stack(hidden, 1))
        if any(mask is not None for mask in masks[track])
    ]
    write_json(record_path(out, index), {"video": video, "annotations": annotations})


def video_name(index: int) -> str:
    """Folder or file name of video ``index`` (from 0)."""
    return f"{index:05}"


def record_path(out: Path, index: int) -> Path:
    """Where the record of video ``index`` lies; it exists exactly when the video is finished."""
    return out / "records" / f"{video_name(index)}.json"


def _encoded(frame: SyntheticFrame) -> list[Rle | None]:
    shown: list[bool] = np.any(frame.masks, axis=(1, 2)).tolist()
    encoded = iter(rle.encode_many(frame.masks[shown]))
    return [next(encoded) if shows else None for shows in shown]


def _annotation(
    video: Record, category_id: int, source: int, masks: list[Rle | None], hidden: npt.NDArray[np.float32]
) -> Record:
    """Everything about a track but its id, which is given when all videos are there."""
    scores = [None if np.isnan(share) else round(float(share), 4) for share in hidden]
    return {
        "video_id": video["id"],
        "category_id": category_id,
        "iscrowd": 0,
        "height": video["height"],
        "width": video["width"],
        "length": video["length"],
        "segmentations": masks,
        "areas": [None if mask is None else rle.area(mask) for mask in masks],
        "bboxes": [None if mask is None else rle.bbox(mask) for mask in masks],
        "occlusion": [None if m is None else _level(s) for m, s in zip(masks, scores, strict=True)],
        "occlusion_scores": scores,
        "source_annotation_id": source,
    }


def _level(score: float | None) -> str:
    """The OVIS word; its evaluator reads 0, 0.25 and 0.75 from the three, the middles of these ranges."""
    if score is None or score < _SLIGHT_FROM:
        return "no_occlusion"
    return "slight_occlusion" if score < _SEVERE_FROM else "severe_occlusion"


def _write_jpeg(path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    coded, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _JPEG)
    if not coded:
        raise VideoError(f"{path}: the frame could not be coded as JPEG")
    path.write_bytes(data.tobytes())


def _write_mp4(path: Path, frames: Iterator[npt.NDArray[np.uint8]], height: int, width: int) -> None:
    import av  # slow to import, and frames as JPEG do without

    with whole_file(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_SECOND))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread: the file must not depend on the machine's number of cores.
        stream.options = repeatable({"crf": "16", "threads": "1"})
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` when the block ends without error; a leftover there is replaced."""
    temporary = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise FewmaskError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
