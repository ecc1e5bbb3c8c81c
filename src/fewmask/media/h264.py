"""H.264 that is the same every time: options of x264, without the one of its parts that is not."""

import cv2

_AVX_512F = 13  # OpenCV's number of it


def repeatable(options: dict[str, str]) -> dict[str, str]:
    """Options of FFmpeg's libx264 with which equal pictures always give equal bytes.

    On processors with AVX-512, x264 sums up what later pictures take over from earlier ones (its macroblock tree) with
    code that reads past the end of a row, where chance has left something, unless the width is a multiple of 128.
    The rate of a block then varies from run to run. With AVX2 as the most it may use, the bytes are the same each time,
    and the speed is, too.
    """
    return {**options, "x264-params": "asm=AVX2"} if cv2.checkHardwareSupport(_AVX_512F) else dict(options)
