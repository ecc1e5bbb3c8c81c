"""Frames of a video kept small and compressed, so that training decodes each video once and not once per epoch."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.errors import VideoError
from fewmask.media.atomic import whole_file
from fewmask.media.frame_source import RgbImage
from fewmask.media.frames import open_frames
from fewmask.retrieval.shots import CutDetector

_SHORT_SIDE = 256
_PER_SECOND = 6.0
_MOST = 600
_QUALITY = 90


@dataclass(frozen=True, eq=False)
class StoredVideo:
    """A video at about six frames a second.

    Attributes:
        pictures: JPEG bytes of each frame kept.
        shots: the shot each belongs to, int64 [len(pictures)], ascending.
    """

    pictures: tuple[bytes, ...]
    shots: npt.NDArray[np.int64]

    def picture(self, place: int) -> RgbImage:
        """Frame ``place`` of those kept, uint8 [h, w, 3], shorter side at most 256."""
        encoded = np.frombuffer(self.pictures[place], np.uint8)
        return np.asarray(cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


class FrameStore:
    """Reads videos through a folder of compressed frames, one file per video, made at first use."""

    def __init__(self, folder: Path) -> None:
        """Keep the files in ``folder``."""
        self._folder = folder

    def read(self, video: Path) -> StoredVideo:
        """The stored frames of ``video``; a changed file is decoded anew.

        Raises:
            VideoError: the video cannot be read at all; what can be read of a broken one is kept.
        """
        try:
            status = video.stat()
        except OSError as error:
            raise VideoError(f"{video}: cannot be read ({error.strerror or error})") from error
        key = f"{video.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        path = self._folder / f"{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.npz"
        stored = _load(path) or _decode(video)
        if not path.exists():
            _save(path, stored)
        return stored


def _decode(video: Path) -> StoredVideo:
    pictures: list[bytes] = []
    shots: list[int] = []
    detector, shot, step = CutDetector(), -1, 1
    with open_frames(video, skip_broken=True) as frames:
        step = max(1, round((frames.fps or _PER_SECOND) / _PER_SECOND))
        if frames.estimated_length:
            step = max(step, -(-frames.estimated_length // _MOST))
        try:
            for frame in frames:
                starts = detector.starts_shot(frame.rgb)
                shot += starts
                if starts or frame.index % step == 0:
                    pictures.append(_compressed(frame.rgb))
                    shots.append(shot)
        except VideoError:
            if not pictures:
                raise
    if not pictures:
        raise VideoError(f"{video}: holds no frames; leave it out")
    return StoredVideo(tuple(pictures), np.array(shots))


def _compressed(rgb: RgbImage) -> bytes:
    height, width = rgb.shape[:2]
    scale = min(1.0, _SHORT_SIDE / min(height, width))
    small = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(encoded)


def _save(path: Path, stored: StoredVideo) -> None:
    ends = np.cumsum([len(picture) for picture in stored.pictures])
    with whole_file(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, data=np.frombuffer(b"".join(stored.pictures), np.uint8), ends=ends, shots=stored.shots)


def _load(path: Path) -> StoredVideo | None:
    """What was stored, or None if it is not there or not whole."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            data, ends, shots = archive["data"].tobytes(), archive["ends"].tolist(), archive["shots"]
        if not (len(ends) == len(shots) > 0 and ends == sorted(ends) and ends[-1] == len(data)):
            return None
    except Exception:  # whatever zip and numpy make of damage; the video is decoded again
        return None
    starts = [0, *ends[:-1]]
    return StoredVideo(tuple(data[start:end] for start, end in zip(starts, ends, strict=True)), shots)
