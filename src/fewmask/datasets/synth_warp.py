"""Warping a cut-out into its place: homography, elastic waves and motion blur, on its own bounding box only."""

import cv2
import numpy as np
import numpy.typing as npt

from fewmask.errors import ConfigError

ByteImage = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]
"""(top, left, height, width)."""

_NODE_STEP = 8  # the warp is evaluated every so many pixels and interpolated linearly in between


def warp(
    rgba: ByteImage,
    transform: Floats,
    size: tuple[int, ...],
    *,
    waves: Floats | None = None,
    blur: tuple[float, float] = (0.0, 0.0),
) -> tuple[int, int, ByteImage] | None:
    """(top, left, rgba [h, w, 4]) of a warped cut-out, only where it meets a canvas of ``size`` (H, W).

    None where it misses the canvas. The other arguments are those of `copy_paste.paste`.

    Raises:
        ConfigError: the transform cannot be inverted, or turns a part of the object behind the camera.
    """
    kernel = _line_kernel(*blur)
    reach = 1.0 + (0.0 if kernel is None else len(kernel) / 2)
    slack = 0.0 if waves is None else float(np.abs(waves[:, :2]).sum(0).max())
    box = _target_box(rgba.shape[:2], transform, size, slack, reach)
    if box is None:
        return None
    columns, rows = _inverse_map(transform, box, waves)
    warped: ByteImage = cv2.remap(rgba, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if kernel is not None:
        warped = cv2.filter2D(warped, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return box[0], box[1], warped


def _target_box(
    source: tuple[int, ...], transform: Floats, size: tuple[int, ...], slack: float, reach: float
) -> Box | None:
    """The part of the canvas that the cut-out, ``slack`` of its pixels enlarged, can reach."""
    height, width = source
    x0, y0, x1, y1 = -slack, -slack, width - 1 + slack, height - 1 + slack
    corners = transform @ np.array([[x0, x1, x0, x1], [y0, y0, y1, y1], [1.0, 1.0, 1.0, 1.0]])
    if (corners[2] <= 0).any():
        raise ConfigError("a transform turns part of the object behind the camera; turn it less")
    across, down = corners[0] / corners[2], corners[1] / corners[2]
    left, right = int(np.floor(across.min() - reach)), int(np.ceil(across.max() + reach))
    top, bottom = int(np.floor(down.min() - reach)), int(np.ceil(down.max() + reach))
    left, top, right, bottom = max(left, 0), max(top, 0), min(right + 1, size[1]), min(bottom + 1, size[0])
    return (top, left, bottom - top, right - left) if right > left and bottom > top else None


def _inverse_map(transform: Floats, box: Box, waves: Floats | None) -> list[npt.NDArray[np.float32]]:
    """For every canvas pixel of the box the point of the cut-out it shows, float32 [h, w] for x and for y."""
    top, left, height, width = box
    step = _NODE_STEP
    # Nodes sit at the centres of step x step blocks, one block beyond the box on each side: cv2.resize then
    # interpolates between exactly these points.
    across = left + (np.arange(-(-width // step) + 2) - 0.5) * step - 0.5
    down = top + (np.arange(-(-height // step) + 2) - 0.5) * step - 0.5
    try:
        inverse = np.linalg.inv(transform)
    except np.linalg.LinAlgError as error:
        raise ConfigError("a transform that cannot be inverted has no place on the canvas") from error
    x, y, w = (row[0] * across + row[1] * down[:, None] + row[2] for row in inverse)
    x, y = x / w, y / w
    if waves is not None:
        bend = np.sin(waves[:, 2, None, None] * x + waves[:, 3, None, None] * y + waves[:, 4, None, None])
        x = x + np.tensordot(waves[:, 0], bend, 1)
        y = y + np.tensordot(waves[:, 1], bend, 1)
    size = len(across) * step, len(down) * step
    inner = slice(step, step + height), slice(step, step + width)
    return [cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)[inner] for m in (x, y)]


def _line_kernel(dx: float, dy: float) -> npt.NDArray[np.float32] | None:
    """A normalised line of the given extent for `cv2.filter2D`, or None when it is too short to matter."""
    length = float(np.hypot(dx, dy))
    if length < 1.5:
        return None
    side = 2 * int(np.ceil(max(abs(dx), abs(dy)) / 2)) + 1
    shares = np.linspace(-0.5, 0.5, 2 * side + 1)
    kernel = np.zeros((side, side), np.float32)
    np.add.at(kernel, (side // 2 + np.rint(shares * dy).astype(int), side // 2 + np.rint(shares * dx).astype(int)), 1)
    return np.asarray(kernel / kernel.sum(), np.float32)
