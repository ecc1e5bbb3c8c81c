from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

SizedFrames = list[np.ndarray]


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture that tells its index: a gradient, and a square that moves by 3 pixels per frame."""
    rows, columns = np.mgrid[:height, :width]
    rgb = np.stack([rows * 2 + 20, columns + 30, np.full_like(rows, (index * 5) % 200 + 20)], axis=-1)
    left = (index * 3) % max(1, width - 12)
    rgb[height // 4 : height // 4 + 12, left : left + 12] = (230, 40, 40)
    return rgb.clip(0, 255).astype(np.uint8)


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small video; skips visibly when this build of FFmpeg lacks the encoder."""

    def make(name: str = "clip.mp4", **settings: Any) -> Path:
        return write_video(tmp_path / name, **settings)

    return make


def write_video(
    path: Path,
    *,
    count: int = 12,
    codec: str = "libx264",
    size: tuple[int, int] = (48, 64),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times: list[int] | None = None,
    audio: bool = False,
) -> Path:
    """``times`` are presentation times in 1/1000 s; without them the rate is 10 frames per second."""
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this build of FFmpeg has no encoder {codec}")
    height, width = size
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        if times is not None:
            stream.codec_context.time_base = av_fraction(1, 1000)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index, height, width), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], av_fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def av_fraction(numerator: int, denominator: int) -> Any:
    from fractions import Fraction

    return Fraction(numerator, denominator)
