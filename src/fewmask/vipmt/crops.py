"""Random square crops of a picture and its labels, for training the backbone on single pictures."""

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def random_crop(
    rng: np.random.Generator, rgb: Bytes, labels: Bytes, side: int, scales: tuple[float, float], outside: int
) -> tuple[Bytes, Bytes]:
    """Scale, mirror, crop or pad to a square, change the colours.

    Args:
        rng: where chance comes from.
        rgb: uint8 [H, W, 3].
        labels: uint8 [H, W].
        side: of the square, in pixels.
        scales: the picture's shorter side over ``side``, drawn between these.
        outside: label where the picture ends within the square.

    Returns:
        uint8 [side, side, 3] and uint8 [side, side].
    """
    scale = float(np.exp(rng.uniform(*np.log(scales)))) * side / min(labels.shape)
    size = (max(1, round(labels.shape[1] * scale)), max(1, round(labels.shape[0] * scale)))
    rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8)
    labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    if rng.random() < 0.5:
        rgb, labels = rgb[:, ::-1], labels[:, ::-1]
    top, left = (int(rng.integers(max(length - side, 0) + 1)) for length in labels.shape)
    rgb, labels = rgb[top : top + side, left : left + side], labels[top : top + side, left : left + side]
    square = np.zeros((side, side, 3), dtype=np.uint8)
    known = np.full((side, side), outside, dtype=np.uint8)
    gain, offset = rng.uniform(0.7, 1.3, 3), rng.uniform(-20, 20)
    square[: rgb.shape[0], : rgb.shape[1]] = (rgb * gain + offset).clip(0, 255)
    known[: labels.shape[0], : labels.shape[1]] = labels
    return square, known
