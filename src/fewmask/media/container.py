"""Opening what PyAV reads, its many errors turned into one VideoError; decoded frames turned into upright RGB."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from fewmask.errors import VideoError
from fewmask.media.frame_source import RgbImage
from fewmask.media.image_pixels import scaled, significant_bits, tell_scale

# Titles in old encodings are common and not our concern. PyAV 19 reads every title and knows no such option.
_READ_ANY_TITLE = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}


def open_container(
    address: str,
    shown: str,
    *,
    container_format: str | None = None,
    options: dict[str, str] | None = None,
    timeout_s: float | None = None,
) -> Any:
    """An open PyAV container that has at least one video stream.

    Args:
        address: what FFmpeg opens: ``file:/...``, an address, or a device.
        shown: the name used in messages.
        container_format: FFmpeg's input format, e.g. "v4l2"; None detects it.
        options: FFmpeg's options for the input.
        timeout_s: seconds to wait for opening, and for each read.

    Raises:
        VideoError: it cannot be opened, or holds no video.
    """
    try:
        container = av.open(
            address,
            format=container_format,
            options=options or {},
            timeout=timeout_s,
            **_READ_ANY_TITLE,
        )
    except av.FFmpegError as error:
        raise VideoError(
            f"{shown}: cannot be opened as a video ({reason(error)}); {_advice(error)}"
        ) from None  # the error itself would show a password in the address
    try:
        video_stream(container, shown)
    except VideoError:
        container.close()
        raise
    return container


def video_stream(container: Any, shown: str) -> Any:
    """The first stream of moving pictures; covers and thumbnails that are attached to a file are none.

    Raises:
        VideoError: there is none, or its codec is unknown.
    """
    attached = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & attached]
    if not streams:
        found = "a cover picture only" if container.streams.video else "audio only?"
        raise VideoError(f"{shown}: holds no video stream ({found}); give a video or a folder of images")
    if streams[0].codec_context is None:
        raise VideoError(f"{shown}: its video codec is not known to FFmpeg; convert it, e.g. to H.264")
    return streams[0]


def reason(error: BaseException) -> str:
    """FFmpeg's own words for an error, on one line and without the address."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())


def _advice(error: BaseException) -> str:
    if isinstance(error, av.error.InvalidDataError):
        return "the file is damaged, cut short or no video: check that it plays, or fetch it again"
    if isinstance(error, PermissionError):
        return "check that you may read it"
    return "check the address, and that it can be reached from here"


def quarter_turns(frame: Any) -> int:
    """Counter-clockwise quarter turns, 0 to 3, that make a decoded frame upright."""
    return int(round(frame.rotation / 90) % 4)


def upright_size(frame: Any) -> tuple[int, int]:
    """(height, width) of a decoded frame once it is upright."""
    return (frame.width, frame.height) if quarter_turns(frame) % 2 else (frame.height, frame.width)


def upright_rgb(frame: Any, bits: int | None = None) -> RgbImage:
    """A decoded frame as contiguous uint8 [H, W, 3], turned as its rotation tag says.

    Args:
        frame: PyAV's.
        bits: how many of 16 bits its pixels use, where they have 16: see `used_bits`.
    """
    deep = _deep_pixels(frame) if bits is not None else None
    rgb = frame.to_ndarray(format="rgb24") if deep is None else scaled(deep, bits or 16)
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns(frame)))


def used_bits(frame: Any, where: str) -> int | None:
    """How many of 16 bits a source uses, judged by its first frame, and told; None where pixels have no 16 bits.

    Formats of 10, 12 and 14 bits say so themselves, and FFmpeg scales them.
    """
    deep = _deep_pixels(frame)
    if deep is None:
        return None
    bits = significant_bits(int(deep.max(initial=0)))
    tell_scale(bits, Path(where))
    return bits


def _deep_pixels(frame: Any) -> npt.NDArray[np.uint16] | None:
    """uint16 [H, W] or [H, W, 3]; None for pixels of fewer bits."""
    kind = frame.format.name
    if kind.startswith("gray16"):
        return np.asarray(frame.to_ndarray(format="gray16le"), np.uint16)
    if kind.startswith(("rgb48", "bgr48", "rgba64", "bgra64", "gbrp16", "gbrap16")):
        return np.asarray(frame.to_ndarray(format="rgb48le"), np.uint16)
    return None


def mean_fps(stream: Any) -> float | None:
    """The stream's mean frame rate, or None when it does not say."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None
